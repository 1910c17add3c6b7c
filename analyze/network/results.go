package network

import (
	"cmp"
	"iter"
	"slices"

	"github.com/xentape/xentape/format"
)

// results are the records of all shards, in their final order.
type results struct {
	conns []*Conn
	dns   []*DNS
	http  []*HTTP
	tls   []*TLS
	ssh   []*SSH
	quic  []*QUIC
	files []*File
	plain []*File
}

// collect merges what the shards recorded. Order is time, then the packet
// record, then the order within the shard, which is itself fixed.
func (a *Analyzer) collect() {
	r := &results{}
	for _, s := range a.shards {
		r.conns = append(r.conns, s.conns...)
		r.dns = append(r.dns, s.content.dns...)
		r.http = append(r.http, s.content.http...)
		r.tls = append(r.tls, s.content.tls...)
		r.ssh = append(r.ssh, s.content.ssh...)
		r.quic = append(r.quic, s.content.quic...)
		r.files = append(r.files, s.content.files...)
		r.plain = append(r.plain, s.content.streams...)
		s.conns, s.content, s.table = nil, content{}, nil
	}
	for _, c := range r.conns {
		c.TS = Seconds(c.Start + a.opt.RealtimeOffset)
		c.LocalOrig, c.LocalResp = a.opt.local(c.OrigH), a.opt.local(c.RespH)
		if d := a.streams[c.StreamID]; d != nil {
			c.Stream = d.Name
		}
		c.Uncertain = a.touched(c.StreamID, c.Start, c.End)
	}
	slices.SortStableFunc(r.conns, func(x, y *Conn) int {
		return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.FirstRecord, y.FirstRecord), cmp.Compare(x.UID, y.UID))
	})
	arrange(a, r.dns)
	arrange(a, r.http)
	arrange(a, r.tls)
	arrange(a, r.ssh)
	arrange(a, r.quic)
	arrange(a, r.files)
	arrange(a, r.plain)
	a.results = r
}

// arrange sorts records of content and gives them wall-clock time.
func arrange[T interface{ head() *Header }](a *Analyzer, list []T) {
	slices.SortStableFunc(list, func(x, y T) int {
		h, k := x.head(), y.head()
		return cmp.Or(cmp.Compare(h.at, k.at), cmp.Compare(h.FirstRecord, k.FirstRecord), cmp.Compare(h.UID, k.UID))
	})
	for _, x := range list {
		h := x.head()
		h.TS = Seconds(h.at + a.opt.RealtimeOffset)
	}
}

func (h *Header) head() *Header { return h }

// touched reports whether packets are missing from the stream between two times.
func (a *Analyzer) touched(id format.StreamID, from, to int64) bool {
	for i := range a.gaps {
		if g := &a.gaps[i]; g.Stream == id && g.From <= to && g.To >= from {
			return true
		}
	}
	return false
}

// Conns yields the connections in order of their first packet. It, like the
// others here, is empty before Finish.
func (a *Analyzer) Conns() iter.Seq[*Conn] { return slices.Values(a.found().conns) }

// DNS yields questions with their answers, in order of time.
func (a *Analyzer) DNS() iter.Seq[*DNS] { return slices.Values(a.found().dns) }

// HTTP yields requests with their responses.
func (a *Analyzer) HTTP() iter.Seq[*HTTP] { return slices.Values(a.found().http) }

// TLS yields TLS handshakes over TCP.
func (a *Analyzer) TLS() iter.Seq[*TLS] { return slices.Values(a.found().tls) }

// SSH yields SSH sessions.
func (a *Analyzer) SSH() iter.Seq[*SSH] { return slices.Values(a.found().ssh) }

// QUIC yields QUIC connections.
func (a *Analyzer) QUIC() iter.Seq[*QUIC] { return slices.Values(a.found().quic) }

// Files yields the files that were carried.
func (a *Analyzer) Files() iter.Seq[*File] { return slices.Values(a.found().files) }

// Streams yields, with Options.Streams, what each direction of a TCP connection
// of no known protocol carried; Source is "TCP". Connections whose beginning was
// not seen are left out.
func (a *Analyzer) Streams() iter.Seq[*File] { return slices.Values(a.found().plain) }

func (a *Analyzer) found() *results {
	if a.results == nil {
		return &results{}
	}
	return a.results
}
