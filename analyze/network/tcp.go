package network

import "github.com/xentape/xentape/analyze/internal/packet"

// tcpConn is what a connection has when its transport is TCP. The rules follow
// Zeek's TCPSessionAdapter, version 9.
type tcpConn struct {
	ep        [2]endpoint // originator, responder
	partial   bool        // the connection did not begin with a SYN here
	firstSeen [2]bool
	closePend bool // closing waits for data still missing
	finished  bool // closed on both sides or reset: no longer times out by itself
}

// Timers of a connection, ns (Zeek's tcp_* and *_inactivity_timeout constants).
const (
	second            = int64(1e9)
	attemptDelay      = 5 * second
	closeDelay        = 5 * second
	linger            = 5 * second
	sessionFirst      = 5 * second
	sessionEvery      = 6 * second
	inactivityDefault = 60 * second
	inactivityTCP     = 300 * second
	inactivityLogin   = 3600 * second
)

func side(isOrig bool) int {
	if isOrig {
		return 0
	}
	return 1
}

// reused reports whether a SYN on a known connection starts another one.
func (t *tcpConn) reused(seg *packet.TCP) bool {
	if seg.Flags&packet.SYN == 0 || seg.Header < 20 {
		return false
	}
	orig, resp := &t.ep[0], &t.ep[1]
	from := orig
	if seg.Flags&packet.ACK != 0 {
		if orig.state != inactive {
			return false
		}
		from = resp
	}
	if orig.didClose || resp.didClose {
		return true
	}
	if seg.Seq == uint32(from.start) {
		return false
	}
	// A SYN and its SYN-ACK seen in the wrong order are one connection.
	swapped := seg.Flags&packet.ACK == 0 && from.state == synAckSent &&
		resp.state == inactive && seg.Seq == uint32(resp.start)
	return !swapped
}

// segment is one TCP packet on its way through the state machine.
type segment struct {
	packet.TCP
	now     int64
	payload []byte // captured
	length  int    // payload bytes on the wire
	isOrig  bool
}

func (s *segment) has(f uint8) bool { return s.Flags&f != 0 }

// tcpPacket advances the connection by one segment whose checksum is right.
func (c *conn) tcpPacket(s *segment) {
	t := c.tcp
	ep, peer := &t.ep[side(s.isOrig)], &t.ep[side(!s.isOrig)]
	t.notePartial(s)
	consumed := uint32(s.length)
	if s.has(packet.RST) {
		consumed = 0
	}
	if s.has(packet.SYN) {
		consumed++
	}
	if s.has(packet.FIN) {
		consumed++
	}
	after := s.Seq + consumed
	ep.prepare(s, after)
	rel, under := ep.relative(s.Seq, ep.last, ep.lastWraps)
	c.tcpHistory(s, ep, rel)
	// The history rule may have turned the roles round.
	if now := &t.ep[side(s.isOrig)]; now != ep {
		ep, peer = now, &t.ep[side(!s.isOrig)]
	}
	if s.Window == 0 && !s.has(packet.RST) && peer.state != closed && ep.state != reset && ep.zeroWindows.hit() {
		c.addHistory('W', s.isOrig)
	}
	if !t.ep[0].didClose || !t.ep[1].didClose {
		c.last = s.now
	}
	if s.has(packet.FIN) {
		ep.fin, ep.finSeq = true, rel+uint64(consumed)
	}
	ep.rst = ep.rst || s.has(packet.RST)
	if c.closing == 0 && (s.has(packet.FIN) || s.has(packet.RST)) {
		c.closing = c.last
	}
	relAck := peer.acknowledged(s)
	moved := c.noteLast(s, ep, after)
	ep.seen = true
	closing := c.transition(s, ep, peer, moved)
	if now := &t.ep[side(s.isOrig)]; now != ep {
		ep, peer = now, &t.ep[side(!s.isOrig)]
	}
	if s.has(packet.ACK) {
		c.ackReceived(peer, ep, relAck, !s.isOrig)
	}
	t.firstSeen[side(s.isOrig)] = true
	if s.length > 0 && !s.has(packet.RST) && !under && len(s.payload) >= s.length {
		if s.has(packet.SYN) {
			rel++
		}
		c.dataSent(ep, peer, rel, s.payload[:s.length], s.isOrig)
	}
	c.checkEOF(ep, peer, s.isOrig)
	if closing {
		c.sideClosed(ep, peer)
	}
}

// acknowledged takes the acknowledgement a segment carries for e, the side that
// did not send it, and returns its relative number; 0 is none.
func (e *endpoint) acknowledged(s *segment) uint64 {
	if !s.has(packet.ACK) {
		return 0
	}
	if e.state == inactive {
		e.begin(s.Ack-1, s.Ack-1)
		return 1
	}
	rel, under := e.relative(s.Ack, e.ack, e.ackWraps)
	if under {
		return 0
	}
	if !s.has(packet.RST) { // which often acknowledge nonsense
		e.advanceAck(s.Ack)
	}
	return rel
}

func (t *tcpConn) notePartial(s *segment) {
	switch {
	case s.isOrig && !t.firstSeen[0]:
		t.partial = !s.has(packet.SYN) || s.has(packet.ACK)
	case !s.isOrig && !t.firstSeen[1] && !t.partial:
		t.partial = !s.has(packet.SYN)
	}
}

// prepare sets up the sequence space where this packet says where it begins.
func (e *endpoint) prepare(s *segment, after uint32) {
	syn := s.has(packet.SYN)
	switch e.state {
	case inactive:
		if syn {
			e.begin(after, s.Seq)
		} else {
			// As though a SYN had come before; the packet itself is new.
			e.begin(s.Seq, s.Seq-1)
		}
	case synSent, synAckSent:
		if syn && s.Seq != uint32(e.start) {
			e.begin(after, s.Seq)
		}
	case established, partial:
		if syn {
			e.begin(after, s.Seq)
		}
	case reset:
		if syn && e.prev == inactive {
			e.begin(after, s.Seq)
		}
	}
}

// noteLast moves the end of what was sent, and returns by how much the segment
// went beyond it; anything else with payload is a retransmission.
func (c *conn) noteLast(s *segment, ep *endpoint, after uint32) int32 {
	d := delta(after, ep.last)
	switch {
	case s.Flags&(packet.SYN|packet.RST) != 0 && (d > tooFar || d < -tooFar):
	case s.has(packet.FIN) && ep.last == uint32(ep.start)+1:
		ep.advanceLast(after)
	case ep.state == reset:
	case d > 0:
		ep.advanceLast(after)
	case s.length > 0:
		if ep.rexmits.hit() {
			c.addHistory('T', s.isOrig)
		}
	}
	return d
}

// History bits of one side; the responder's are shifted by 16.
const (
	histSYN = 1 << iota
	histFIN
	histRST
	histFINRST
	histData
	histAck
	histMulti
)

func (c *conn) tcpHistory(s *segment, ep *endpoint, rel uint64) {
	n := 0
	for _, f := range [...]uint8{packet.SYN, packet.FIN, packet.RST} {
		if s.has(f) {
			n++
		}
	}
	switch {
	case n > 1 && s.has(packet.FIN) && s.has(packet.RST):
		c.once(histFINRST, 'I', s)
	case n > 1:
		c.once(histMulti, 'Q', s)
	case s.has(packet.SYN):
		code := byte('S')
		if s.has(packet.ACK) {
			code = 'H'
		}
		if c.once(histSYN, code, s) && rel != ep.histSYN {
			c.addHistory(code, s.isOrig)
		}
		ep.histSYN = rel
	case s.has(packet.FIN):
		end := rel + uint64(s.length)
		if c.once(histFIN, 'F', s) && end != ep.histFIN {
			c.addHistory('F', s.isOrig)
		}
		ep.histFIN = end
	case s.has(packet.RST):
		if c.once(histRST, 'R', s) && rel != ep.histRST {
			c.addHistory('R', s.isOrig)
		}
		ep.histRST = rel
	case s.length > 0:
		c.once(histData, 'D', s)
	case s.has(packet.ACK):
		c.once(histAck, 'A', s)
	}
}

// once adds a letter the first time its bit is met, and reports whether it had
// been there before.
func (c *conn) once(bit uint32, code byte, s *segment) bool {
	if (code == 'A' || code == 'D') && len(c.history) == 1 && c.history[0] == 'H' {
		// The connection began with a SYN-ACK. Productive traffic makes a
		// stealth scan unlikely: its sender is the responder after all.
		c.flip()
		s.isOrig = !s.isOrig
		c.history = append(c.history[:0], "^h"...)
		c.tcp.firstSeen[0] = true
	}
	if !s.isOrig {
		bit <<= 16
	}
	return c.seenHistory(bit, code, s.isOrig)
}
