package story

import (
	"iter"

	"github.com/xentape/xentape/analyze/network"
)

// peerNames are the names the peer of a connection was asked for by: TLS and QUIC
// server names, HTTP hosts, and what DNS queries asked.
func peerNames(c *network.Conn) []string {
	var ns []string
	add := func(s string) {
		if s != "" {
			ns = append(ns, s)
		}
	}
	if c.TLS != nil {
		add(c.TLS.ServerName)
	}
	if c.QUIC != nil {
		add(c.QUIC.ServerName)
	}
	for _, h := range c.HTTP {
		add(h.Host)
	}
	for _, d := range c.DNS {
		if d.Query != nil {
			add(*d.Query)
		}
	}
	return unique(ns)
}

// transferred lists what connections carried: files of known protocols, and the
// streams of those without one.
func (e *Engine) transferred() []Transfer {
	var all []Transfer
	for _, list := range []iter.Seq[*network.File]{e.net.Files(), e.net.Streams()} {
		for f := range list {
			all = append(all, Transfer{UID: f.UID, SHA256: f.SHA256, Size: f.SeenBytes, MIME: f.MIMEType, URL: f.URL, IsOrig: f.IsOrig,
				First: f.FirstRecord, Last: f.LastRecord, Complete: f.Complete && f.SHA256 != "", Blocks: f.Blocks})
		}
	}
	return all
}
