package network

import (
	"encoding/binary"

	"github.com/xentape/xentape/analyze/internal/tls"
)

// DTLS record and handshake headers (RFC 6347 §4.1, §4.2.2).
const (
	dtlsRecordHeader    = 13
	dtlsHandshakeHeader = 12
	maxDTLSMessage      = 64 << 10
	maxDTLSMessages     = 8   // handshake messages of a side collected at once
	maxDTLSErrors       = 5   // records of unknown versions before giving up
	maxDTLSParts        = 256 // of a message, apart from each other
)

// dtlsStart reports a record with a ClientHello, as the first of its sender
// (Zeek's dpd_dtls_client).
func dtlsStart(b []byte) bool {
	return len(b) >= 27 && b[0] == tlsHandshake && dtlsVersion(b[1:]) && b[13] == tls.TypeClientHello && dtlsVersion(b[25:]) &&
		binary.BigEndian.Uint64(b[2:])&0x00ffffffffffffff == 0
}

func dtlsVersion(b []byte) bool { return b[0] == 0xfe && (b[1] == 0xff || b[1] == 0xfd) }

// stun reports a message of STUN, which shares the port with DTLS (RFC 5764).
func stun(b []byte) bool { return len(b) > 20 && binary.BigEndian.Uint32(b[4:]) == 0x2112a442 }

// dtlsParser follows the handshake of DTLS 1.0 and 1.2, and of 1.3 as far as it
// is in the clear.
type dtlsParser struct {
	handshake
	partial   [2][]dtlsMessage
	encrypted [2]bool
	errors    int
	done      bool
}

// dtlsMessage is a handshake message being put together from fragments.
type dtlsMessage struct {
	seq  uint16
	typ  byte
	data []byte
	have []span // parts seen
}

func (p *dtlsParser) datagram(c *conn, isOrig bool, b []byte) {
	if p.done || stun(b) {
		return
	}
	for len(b) >= dtlsRecordHeader && !p.done {
		n := dtlsRecordHeader + int(binary.BigEndian.Uint16(b[11:]))
		if !dtlsVersion(b[1:]) || b[0] < tlsChangeCipherSpec || b[0] > 26 || n > len(b) || n > dtlsRecordHeader+maxTLSRecord {
			if p.errors++; p.errors > maxDTLSErrors {
				p.end(c)
			}
			return
		}
		p.record(c, isOrig, b[0], binary.BigEndian.Uint16(b[3:]), b[dtlsRecordHeader:n])
		b = b[n:]
	}
}

func (p *dtlsParser) record(c *conn, isOrig bool, typ byte, epoch uint16, b []byte) {
	p.begin(c, 'd')
	p.rec.LastRecord = c.lastRec
	client := p.client(isOrig)
	if epoch > 0 {
		p.encrypted[side(isOrig)] = true
		if p.encrypted[0] && p.encrypted[1] {
			p.rec.Established = true
			p.end(c)
		}
		return
	}
	switch typ {
	case tlsChangeCipherSpec:
		p.changeCipher(client)
	case tlsAlert:
		p.alert(client, b)
	case tlsHandshake:
		for len(b) >= dtlsHandshakeHeader && !p.done {
			b = p.fragment(c, isOrig, b)
		}
	}
}

// fragment takes one handshake fragment and returns what follows it.
func (p *dtlsParser) fragment(c *conn, isOrig bool, b []byte) []byte {
	u24 := func(i int) int { return int(b[i])<<16 | int(b[i+1])<<8 | int(b[i+2]) }
	typ, length, seq, off, n := b[0], u24(1), binary.BigEndian.Uint16(b[4:]), u24(6), u24(9)
	body := b[dtlsHandshakeHeader:]
	if n > len(body) || off+n > length || length > maxDTLSMessage {
		p.end(c)
		return nil
	}
	rest := body[n:]
	if n == length {
		p.message(c, isOrig, typ, body[:n])
		return rest
	}
	m := p.collect(c, side(isOrig), typ, seq, length)
	if m == nil {
		return rest
	}
	if n == 0 || len(m.have) >= maxDTLSParts {
		return rest
	}
	copy(m.data[off:], body[:n])
	s := stream{above: m.have}
	s.insert(uint64(off), uint64(off+n))
	m.have = s.above
	if len(m.have) == 1 && m.have[0] == (span{0, uint64(length)}) {
		whole := m.data
		p.forget(c, m)
		p.message(c, isOrig, typ, whole)
	}
	return rest
}

// collect returns the message a fragment belongs to, nil when there is no room
// for it.
func (p *dtlsParser) collect(c *conn, i int, typ byte, seq uint16, length int) *dtlsMessage {
	list := &p.partial[i]
	free := (*dtlsMessage)(nil)
	for k := range *list {
		m := &(*list)[k]
		if m.seq == seq && m.typ == typ && len(m.data) == length {
			return m
		}
		if m.data == nil {
			free = m
		}
	}
	switch {
	case c.shard.content.held+length > maxHeld:
		return nil
	case free == nil && len(*list) >= maxDTLSMessages:
		free = &(*list)[0]
		p.forget(c, free)
	case free == nil:
		*list = append(*list, dtlsMessage{})
		free = &(*list)[len(*list)-1]
	}
	c.shard.content.held += length
	*free = dtlsMessage{seq: seq, typ: typ, data: make([]byte, length)}
	return free
}

// forget gives back the room of a message.
func (p *dtlsParser) forget(c *conn, m *dtlsMessage) {
	c.shard.content.held -= len(m.data)
	m.data, m.have = nil, nil
}

func (p *dtlsParser) message(c *conn, isOrig bool, typ byte, body []byte) {
	if !p.said(c, isOrig, "dtls", typ, body) {
		p.end(c)
	}
}

// end records the handshake.
func (p *dtlsParser) end(c *conn) {
	if p.done {
		return
	}
	p.done = true
	for i := range p.partial {
		for k := range p.partial[i] {
			p.forget(c, &p.partial[i][k])
		}
		p.partial[i] = nil
	}
	if p.rec != nil {
		c.addTLS(p.rec)
	}
}

func (p *dtlsParser) finish(c *conn) { p.end(c) }
