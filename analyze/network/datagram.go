package network

import (
	"bytes"
	"encoding/binary"
)

// A udpParser follows one application protocol over UDP.
type udpParser interface {
	datagram(c *conn, isOrig bool, b []byte)
	finish(c *conn)
}

// How much of a flow is looked at for a protocol (Zeek's dpd_max_packets and
// dpd_buffer_size; the latter only where the port does not suggest one).
const (
	maxUDPTries = 100
	maxUDPSeen  = 1024
)

// udpParser chooses by the responder's port; what has none is looked at when
// its first datagrams come.
func (s *shard) udpParser(c *conn) udpParser {
	if c.isDNS {
		return &dnsParser{}
	}
	return nil
}

// datagram delivers a UDP payload.
func (a *app) datagram(c *conn, isOrig bool, b []byte) {
	if a.udp == nil {
		if a.udpTries >= maxUDPTries || len(b) == 0 || a.udpSeen > maxUDPSeen && !c.ports.udp(c.respPort) {
			return
		}
		a.udpTries++
		a.udpSeen += len(b)
		if a.udp = identifyDatagram(c, b); a.udp == nil {
			return
		}
	}
	a.udp.datagram(c, isOrig, b)
}

// identifyDatagram chooses a parser by content (Zeek's dpd.sig) and port.
func identifyDatagram(c *conn, b []byte) udpParser {
	switch {
	case c.enabled("quic") && (quicStart(b) || c.respPort == 443 && quicLong(b)):
		return &quicParser{}
	case c.enabled("ssl") && dtlsStart(b):
		return &dtlsParser{}
	case c.enabled("dhcp") && len(b) >= 240 && string(b[236:240]) == "\x63\x82\x53\x63":
		return &simple{service: "dhcp"}
	case c.enabled("ntp") && c.respPort == 123 && ntp(b):
		return &ntpParser{}
	case c.enabled("snmp") && (c.respPort == 161 || c.respPort == 162) && snmp(b):
		return &simple{service: "snmp"}
	case c.enabled("syslog") && c.respPort == 514 && b[0] == '<' && bytes.IndexByte(b[:min(len(b), 6)], '>') > 1:
		return &simple{service: "syslog"}
	case c.enabled("sip") && bytes.Contains(b[:min(len(b), 256)], []byte("SIP/2.0")):
		return &simple{service: "sip"}
	case c.enabled("krb") && (c.respPort == 88 || c.origPort == 88) && kerberos(b):
		return &simple{service: "krb"}
	case c.enabled("radius") && c.respPort == 1812 && len(b) >= 20 && int(binary.BigEndian.Uint16(b[2:])) == len(b):
		return &simple{service: "radius"}
	case c.enabled("ldap") && c.respPort == 389 && ldapMessage(b):
		return &simple{service: "ldap_udp"}
	case c.enabled("rdp") && rdpUDP(b):
		return &rdpParser{}
	}
	return nil
}

// quicStart: a long header with the fixed bit, or one for negotiation.
func quicStart(b []byte) bool {
	if len(b) < 7 || b[0]&0xc0 != 0xc0 || b[5] > 20 {
		return false
	}
	switch v := binary.BigEndian.Uint32(b[1:]); {
	case v == 1, v == 0x6b3343cf, v>>8 == 0xff0000, v>>8 == 0xfaceb0:
		return true
	case v&0x0f0f0f0f == 0x0a0a0a0a: // reserved to force negotiation
		return true
	}
	return false
}

// quicLong: a long header of any version.
func quicLong(b []byte) bool { return len(b) >= 7 && b[0]&0xc0 == 0xc0 && b[5] <= 20 }

// ntp: a version and mode that exist, and a size a packet of that mode has.
func ntp(b []byte) bool {
	version, mode := b[0]>>3&7, b[0]&7
	switch {
	case version < 1 || version > 4:
		return false
	case mode >= 1 && mode <= 5:
		return len(b) >= 48
	case mode == 6:
		return len(b) >= 12
	}
	return mode == 7 && len(b) >= 8
}

// ntpParser turns the flow round when its first packet is a server's.
type ntpParser struct{ flipped [2]bool }

func (p *ntpParser) datagram(c *conn, isOrig bool, b []byte) {
	if len(b) == 0 || !ntp(b) {
		return
	}
	c.addService("ntp")
	const client, server = 3, 4
	mode := b[0] & 7
	if (mode == server && isOrig || mode == client && !isOrig) && !p.flipped[side(isOrig)] {
		p.flipped[side(isOrig)] = true
		c.flipByContent(isOrig)
	}
}

func (p *ntpParser) finish(*conn) {}

// snmp: a BER sequence that begins with a version number.
func snmp(b []byte) bool {
	_, body, ok := ber(b)
	return ok && b[0] == 0x30 && len(body) >= 3 && body[0] == 2 && body[1] == 1 && body[2] <= 3
}

// simple is a protocol that is recognized, and not looked into further.
type simple struct{ service string }

func (p *simple) datagram(c *conn, _ bool, _ []byte) { c.addService(p.service) }
func (p *simple) finish(*conn)                       {}

// rdpUDP recognizes a SYN of RDP's UDP transport (MS-RDPEUDP §2.2.2.1).
func rdpUDP(b []byte) bool {
	return len(b) >= 1132 && len(b) <= 1232 && binary.BigEndian.Uint32(b) == 0xffffffff && b[7]&1 != 0
}

// rdpParser waits for the other side to acknowledge the SYN.
type rdpParser struct{}

func (p *rdpParser) datagram(c *conn, isOrig bool, b []byte) {
	if !isOrig && len(b) >= 8 && b[7]&4 != 0 || !isOrig && rdpUDP(b) {
		c.addService("rdpeudp")
	}
}
func (p *rdpParser) finish(*conn) {}
