package network

import (
	"bytes"

	"github.com/xentape/xentape/analyze/internal/packet"
)

func handshaking(s tcpState) bool { return s == inactive || s == synSent || s == synAckSent }

// enter moves an endpoint to a state; leaving the handshake lengthens the
// inactivity timeout.
func (c *conn) enter(ep, peer *endpoint, s tcpState) {
	if s != ep.state && !handshaking(s) && handshaking(ep.state) && handshaking(peer.state) {
		c.inactivity = inactivityTCP
	}
	ep.set(s)
}

// transition runs the state machine for one segment and reports whether the
// side that sent it has closed.
func (c *conn) transition(s *segment, ep, peer *endpoint, moved int32) bool {
	switch ep.state {
	case inactive:
		return c.fromInactive(s, ep, peer)
	case synSent, synAckSent:
		closing := false
		if s.has(packet.FIN) {
			c.enter(ep, peer, closed)
			closing = true
		}
		if s.has(packet.RST) {
			c.enter(ep, peer, reset)
			c.tcp.finished, closing = true, true
		}
		return closing
	case established, partial:
		return c.fromEstablished(s, ep, peer)
	case closed:
		if s.has(packet.RST) && peer.state != closed {
			c.enter(ep, peer, reset)
			return !ep.didClose
		}
	}
	return false
}

func (c *conn) fromInactive(s *segment, ep, peer *endpoint) bool {
	t := c.tcp
	if s.has(packet.SYN) {
		if s.isOrig {
			if s.has(packet.ACK) {
				c.enter(ep, peer, synAckSent)
			} else {
				c.enter(ep, peer, synSent)
			}
			c.attemptAt = s.now + attemptDelay
		} else {
			if !s.has(packet.ACK) && peer.state == synAckSent && s.Seq == uint32(ep.start) {
				// SYN and SYN-ACK were recorded in the wrong order.
				t.partial = false
				c.flip()
				s.isOrig = !s.isOrig
				ep, peer = &t.ep[0], &t.ep[1]
				c.enter(peer, ep, established)
				t.firstSeen[0] = true
			}
			if peer.state == synSent {
				c.enter(peer, ep, established)
			}
			c.enter(ep, peer, established)
			if peer.state != partial {
				c.establish()
			}
		}
	}
	closing := false
	if s.has(packet.FIN) {
		c.enter(ep, peer, closed)
		closing = true
	}
	if s.has(packet.RST) {
		c.enter(ep, peer, reset)
		closing = true
	}
	if ep.state != inactive {
		return closing
	}
	switch {
	case !s.isOrig && s.length == 0 && t.ep[0].state == synSent:
		// Some stacks acknowledge a SYN before they answer it.
	case s.has(packet.ACK) && peer.state == established:
		// Only the originator's SYN is missing.
		c.enter(ep, peer, established)
		t.partial = false
		t.firstSeen[side(s.isOrig)] = true
	default:
		c.enter(ep, peer, partial)
	}
	return closing
}

func (c *conn) fromEstablished(s *segment, ep, peer *endpoint) bool {
	closing := false
	if s.has(packet.SYN) && !s.has(packet.ACK) && ep.state == partial && peer.state == inactive {
		c.enter(ep, peer, synSent)
	}
	if s.has(packet.FIN) && !s.has(packet.RST) {
		c.enter(ep, peer, closed)
		if peer.state == reset && peer.prev == closed {
			c.enter(peer, ep, closed) // FIN, then RST, then FIN: a normal end
		}
		closing = true
	}
	if s.has(packet.RST) {
		c.enter(ep, peer, reset)
		if peer.state != reset || peer.prev != established {
			c.tcp.finished = true
		}
		closing = true
	}
	return closing
}

// establish applies the longer inactivity timeout of interactive services
// (Zeek's base/protocols/conn/inactivity).
func (c *conn) establish() {
	port := c.respPort
	if c.tcp.ep[0].state == inactive && !c.ports.tcp(port) && c.ports.tcp(c.origPort) {
		port = c.origPort
	}
	switch port {
	case 21, 22, 23, 513:
		c.inactivity = inactivityLogin
	}
}

// sideClosed notes that a side has ended, once all its data was seen.
func (c *conn) sideClosed(ep, peer *endpoint) {
	t := c.tcp
	if pending(ep, peer) {
		t.closePend = true
		return
	}
	t.closePend = false
	if ep.didClose {
		return
	}
	ep.didClose = true
	if ep.state == reset || peer.didClose || peer.state == inactive {
		if ep.prev != inactive || peer.state != inactive {
			t.finished = true
		}
		c.attemptAt, c.noSession = 0, true
		c.deleteAt = c.last + closeDelay
	} else if ep.prev != inactive {
		c.halfClosedAt = c.last + sessionEvery
	}
}

// expired reports whether the connection's timers would have ended it by now,
// given that no packet came since. It may be asked at any time.
func (c *conn) expired(now int64) bool {
	if c.deleteAt != 0 {
		return now >= c.deleteAt
	}
	if now-c.last <= linger && now-c.last >= 0 && (c.attemptAt == 0 || now < c.attemptAt) {
		return false // no other timer is shorter
	}
	if now >= c.last+c.inactivity {
		return true
	}
	t := c.tcp
	if t == nil {
		return c.proto == packet.ProtoUDP && c.isDNS && c.dnsExpired(now)
	}
	orig, resp := &t.ep[0], &t.ep[1]
	if c.attemptAt != 0 && now >= c.attemptAt {
		if (orig.state == synSent || orig.state == synAckSent) && resp.state == inactive {
			return true
		}
		c.attemptAt = 0
	}
	if c.noSession || t.finished {
		return false
	}
	for _, first := range [...]int64{c.start + sessionFirst, c.halfClosedAt} {
		if first == 0 || now < first {
			continue
		}
		fire := first + (now-first)/sessionEvery*sessionEvery
		if c.last+linger >= fire {
			continue
		}
		if orig.didClose || resp.didClose {
			if orig.didClose && resp.didClose || orig.state == reset || resp.state == reset ||
				orig.state == inactive || resp.state == inactive {
				return true
			}
		}
		if orig.state == inactive && resp.state == inactive {
			return true
		}
	}
	return false
}

// connState is Zeek's conn_state.
func (c *conn) connState() string {
	if c.tcp == nil {
		return c.datagramState()
	}
	orig, resp := &c.tcp.ep[0], &c.tcp.ep[1]
	os, rs := orig.state, resp.state
	origQuiet := os == inactive || os == partial
	respQuiet := rs == inactive || rs == partial
	switch {
	case rs == reset:
		empty := os == reset && orig.size(resp) == 0 && resp.size(orig) == 0
		switch {
		case os == synSent || os == synAckSent || empty:
			return "REJ"
		case origQuiet:
			return "RSTRH"
		}
		return "RSTR"
	case os == reset && respQuiet:
		if onlySYNThenReset(c.history) {
			return "RSTOS0"
		}
		return "OTH"
	case os == reset:
		return "RSTO"
	case os == closed && rs == closed:
		return "SF"
	case os == closed && respQuiet:
		return "SH"
	case os == closed:
		return "S2"
	case rs == closed && origQuiet:
		return "SHR"
	case rs == closed:
		return "S3"
	case os == synSent && rs == inactive:
		return "S0"
	case os == established && rs == established:
		return "S1"
	}
	return "OTH"
}

// onlySYNThenReset matches ^\^?S[^HAFGIQ]*R.* on the history.
func onlySYNThenReset(h []byte) bool {
	h = bytes.TrimPrefix(h, []byte("^"))
	if len(h) == 0 || h[0] != 'S' {
		return false
	}
	i := bytes.IndexAny(h[1:], "HAFGIQR")
	return i >= 0 && h[1+i] == 'R'
}
