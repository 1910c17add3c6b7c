package network

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/xentape/xentape/analyze/internal/quic"
)

// A QUIC record is one connection (one attempt, when the server asks for a
// retry), under the names of Zeek's quic.log. Its handshake is a TLS record.
type QUIC struct {
	Header
	Version           string  `json:"version"`
	ClientInitialDCID *string `json:"client_initial_dcid,omitempty"`
	ClientSCID        *string `json:"client_scid,omitempty"`
	ServerSCID        *string `json:"server_scid,omitempty"`
	ServerName        string  `json:"server_name,omitempty"`
	ClientProtocol    string  `json:"client_protocol,omitempty"` // first ALPN offered
	History           string  `json:"history"`
	JA4               string  `json:"ja4,omitempty"`
}

// maxQUICHistory is Zeek's QUIC::max_history_length.
const maxQUICHistory = 100

// maxDiscards is Zeek's max_discarded_packet_events.
const maxDiscards = 100

// quicParser follows the packets of one UDP flow.
type quicParser struct {
	rec      *QUIC
	tls      handshake
	keyed    bool
	keys     [2]*quic.Keys
	crypto   [2]quic.Stream
	finished [2]bool // the hello was read
	short    [2]uint64
	next     [2]uint64
	opened   bool
	discards int
	bad      bool
}

func (p *quicParser) datagram(c *conn, isOrig bool, b []byte) {
	for len(b) > 0 && !p.bad {
		if b[0]&0x40 == 0 { // the fixed bit: not a QUIC packet
			if p.opened && p.discards < maxDiscards {
				p.discards++
				p.note(isOrig, 'x')
			}
			return
		}
		pk, rest, err := quic.Next(b)
		if err != nil {
			p.bad = true
			return
		}
		p.packet(c, isOrig, &pk)
		b = rest
	}
}

func (p *quicParser) note(isOrig bool, code byte) {
	if p.rec == nil || len(p.rec.History) >= maxQUICHistory {
		return
	}
	if isOrig {
		code -= 'a' - 'A'
	}
	p.rec.History += string(code)
}

func (p *quicParser) packet(c *conn, isOrig bool, pk *quic.Packet) {
	i := side(isOrig)
	if pk.Type == quic.Short {
		if p.next[i] == 0 {
			p.next[i] = 1
		}
		if p.short[i]++; p.short[i] == p.next[i] {
			p.next[i] *= 2
			p.note(isOrig, 'o')
		}
		return
	}
	p.session(c, isOrig, pk)
	switch pk.Type {
	case quic.Initial:
		p.note(isOrig, 'i')
		p.initial(c, isOrig, pk)
	case quic.Handshake:
		p.note(isOrig, 'h')
	case quic.ZeroRTT:
		p.note(isOrig, 'z')
	case quic.Retry:
		p.note(isOrig, 'r')
		p.log(c)
		p.keyed, p.crypto, p.finished = false, [2]quic.Stream{}, [2]bool{}
	case quic.Unknown:
		p.note(isOrig, 'u')
		p.log(c)
		p.bad = true
	}
}

// session begins a record, or notes the connection IDs in it.
func (p *quicParser) session(c *conn, isOrig bool, pk *quic.Packet) {
	if p.rec == nil {
		p.rec = &QUIC{Header: c.header(), Version: quicVersion(pk.Version)}
	}
	r := p.rec
	r.LastRecord = c.lastRec
	if pk.Type == quic.Retry && r.History != "" {
		return
	}
	dcid, scid := hex.EncodeToString(pk.DCID), hex.EncodeToString(pk.SCID)
	if isOrig {
		if len(pk.DCID) > 0 && r.ClientInitialDCID == nil {
			r.ClientInitialDCID = &dcid
		}
		r.ClientSCID = &scid
	} else {
		r.ServerSCID = &scid
	}
}

func quicVersion(v uint32) string {
	switch {
	case v == quic.Version1:
		return "1"
	case v == quic.Version2:
		return "quicv2"
	case v&0xffffff00 == 0xff000000:
		return "draft-" + strconv.Itoa(int(v&0xff))
	}
	return fmt.Sprintf("unknown-%x", v)
}

// initial opens an Initial packet and reads the handshake in it.
func (p *quicParser) initial(c *conn, isOrig bool, pk *quic.Packet) {
	i := side(isOrig)
	if !p.keyed {
		if !isOrig {
			return // the keys come from the client's first packet
		}
		var err error
		if p.keys[0], p.keys[1], err = quic.InitialKeys(pk.Version, pk.DCID); err != nil {
			p.bad = true
			return
		}
		p.keyed = true
	}
	if p.finished[i] {
		return
	}
	frames, err := p.keys[i].Open(pk)
	if err != nil {
		p.bad = true
		return
	}
	p.opened = true
	c.addService("quic")
	closed, err := quic.Frames(frames, p.crypto[i].Add)
	if err != nil {
		p.bad = true
		return
	}
	p.hello(c, isOrig)
	if closed {
		p.note(isOrig, 'c')
		p.log(c)
	}
}

// hello reads the ClientHello or ServerHello when it is there in full.
func (p *quicParser) hello(c *conn, isOrig bool) {
	i := side(isOrig)
	m := p.crypto[i].Bytes()
	if len(m) < 4 {
		return
	}
	n := 4 + int(m[1])<<16 + int(m[2])<<8 + int(m[3])
	if len(m) < n {
		return
	}
	p.finished[i] = true
	if p.tls.rec == nil {
		p.tls.rec = &TLS{Header: c.header()}
		p.tls.transport = 'q'
	}
	if !p.tls.message(c, isOrig, m[0], m[4:n]) {
		return
	}
	c.addService("ssl")
	p.tls.rec.LastRecord = c.lastRec
	p.note(isOrig, 's')
	if r, t := p.rec, p.tls.rec; isOrig && r != nil {
		r.ServerName, r.JA4 = t.ServerName, t.JA4
		if len(t.ALPN) > 0 {
			r.ClientProtocol = t.ALPN[0]
		}
	}
}

func (p *quicParser) log(c *conn) {
	if p.rec == nil {
		return
	}
	if c.app.quic == nil || c.app.quic.ServerSCID == nil {
		c.app.quic = p.rec
	}
	c.shard.content.quic = append(c.shard.content.quic, p.rec)
	p.rec = nil
}

func (p *quicParser) finish(c *conn) {
	p.log(c)
	if p.tls.rec != nil {
		c.addTLS(p.tls.rec)
	}
}
