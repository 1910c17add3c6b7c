package network

// A udpParser follows one application protocol over UDP.
type udpParser interface {
	datagram(c *conn, isOrig bool, b []byte)
	finish(c *conn)
}

// udpParser chooses by the responder's port; what has none is looked at when
// its first datagram comes.
func (s *shard) udpParser(c *conn) udpParser {
	switch {
	case c.isDNS:
		return &dnsParser{}
	}
	return nil
}

// datagram delivers a UDP payload.
func (a *app) datagram(c *conn, isOrig bool, b []byte) {
	if a.udp != nil {
		a.udp.datagram(c, isOrig, b)
	}
}
