package network

import "bytes"

// maxSocks bounds the negotiation kept of one direction.
const maxSocks = 2048

// socks follows SOCKS 4 and 5 (RFC 1928, 1929) until the relayed connection
// begins; what comes then is looked at as though it came by itself.
type socks struct {
	buf    [2][]byte
	method bool // SOCKS 5: the server chose how to authenticate
	login  bool // it asked for a password
}

// socksStart reports whether both sides begin like SOCKS.
func socksStart(orig, resp []byte) bool {
	if len(orig) < 3 || len(resp) < 2 {
		return false
	}
	switch orig[0] {
	case 4:
		return (orig[1] == 1 || orig[1] == 2) && resp[0] == 0 && resp[1] >= 0x5a && resp[1] <= 0x5d
	case 5:
		return orig[1] > 0 && len(orig) >= 2+int(orig[1]) && resp[0] == 5 && (resp[1] <= 9 || resp[1] == 0xff)
	}
	return false
}

func (p *socks) data(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	p.buf[i] = append(p.buf[i], b...)
	if len(p.buf[i]) > maxSocks {
		return false
	}
	if isOrig || len(p.buf[0]) == 0 {
		return true
	}
	r := p.buf[1]
	if p.buf[0][0] == 4 {
		return len(r) < 8 || p.relay(c, r[1] == 0x5a, r[8:])
	}
	if !p.method {
		if len(r) < 2 {
			return true
		}
		c.addService("socks")
		p.method, p.login, r = true, r[1] == 2, r[2:]
	}
	if p.login && len(r) >= 2 && r[0] == 1 {
		p.login, r = false, r[2:]
	}
	p.buf[1] = r
	n := socksReply(r)
	if n == 0 || len(r) < n {
		return true
	}
	return p.relay(c, r[1] == 0, r[n:])
}

// socksReply returns the length of a SOCKS 5 reply, by its kind of address.
func socksReply(r []byte) int {
	if len(r) < 5 || r[0] != 5 {
		return 0
	}
	switch r[3] {
	case 1:
		return 10
	case 3:
		return 7 + int(r[4])
	case 4:
		return 22
	}
	return 0
}

// relay ends the negotiation; the rest belongs to the relayed connection.
func (p *socks) relay(c *conn, granted bool, rest []byte) bool {
	c.addService("socks")
	if granted {
		c.app.reopen()
		if len(rest) > 0 {
			c.app.identify(c, false, bytes.Clone(rest))
		}
	}
	return false
}

func (p *socks) gap(*conn, bool, uint64) bool { return false }
func (p *socks) eof(*conn, bool)              {}
func (p *socks) finish(*conn)                 {}
