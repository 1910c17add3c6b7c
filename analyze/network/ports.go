package network

import "slices"

// A protocol is an application protocol as Zeek's scripts know it.
type protocol struct {
	name     string
	tcp, udp []uint16 // server ports: who listens there is likely the responder
}

// protocols lists the protocols and their registered ports (Zeek's
// base/protocols/*/main.zeek).
var protocols = []protocol{
	{name: "dce_rpc", tcp: []uint16{135}},
	{name: "dhcp", udp: []uint16{67, 4011}},
	{name: "dnp3", tcp: []uint16{20000}, udp: []uint16{20000}},
	{name: "dns", tcp: []uint16{53}, udp: []uint16{53, 137, 5353, 5355}},
	{name: "finger", tcp: []uint16{79}},
	{name: "ftp", tcp: []uint16{21, 2811}},
	{name: "http", tcp: []uint16{80, 81, 631, 1080, 3128, 8000, 8080, 8888}},
	{name: "imap", tcp: []uint16{143}},
	{name: "irc", tcp: []uint16{6666, 6667, 6668, 6669}},
	{name: "krb", tcp: []uint16{88}, udp: []uint16{88}},
	{name: "ldap", tcp: []uint16{389, 3268}, udp: []uint16{389}},
	{name: "modbus", tcp: []uint16{502}},
	{name: "mqtt", tcp: []uint16{1883}},
	{name: "mysql", tcp: []uint16{1434, 3306}},
	{name: "ntlm"},
	{name: "ntp", udp: []uint16{123}},
	{name: "pop3"},
	{name: "postgresql", tcp: []uint16{5432}},
	{name: "quic", udp: []uint16{443}},
	{name: "radius", udp: []uint16{1812}},
	{name: "rdp", tcp: []uint16{3389}, udp: []uint16{3389}},
	{name: "redis", tcp: []uint16{6379}},
	{name: "rfb"},
	{name: "sip", udp: []uint16{5060}},
	{name: "smb", tcp: []uint16{139, 445}},
	{name: "smtp", tcp: []uint16{25, 587}},
	{name: "snmp", udp: []uint16{161, 162}},
	{name: "socks", tcp: []uint16{1080}},
	{name: "ssh", tcp: []uint16{22}},
	{name: "ssl", tcp: []uint16{443, 465, 563, 585, 614, 636, 989, 990, 992, 993, 995, 5223}, udp: []uint16{443}},
	{name: "syslog", udp: []uint16{514}},
	{name: "xmpp", tcp: []uint16{5222, 5269}},
}

// ports knows the likely server ports of the protocols looked for.
type ports struct {
	tcpSet, udpSet [1024]uint64 // one bit a port
	enabled        map[string]bool
}

// newPorts makes the port sets for the protocols named; nil means all.
func newPorts(names []string) *ports {
	p := &ports{enabled: make(map[string]bool)}
	for _, d := range protocols {
		if names != nil && !slices.Contains(names, d.name) {
			continue
		}
		p.enabled[d.name] = true
		for _, n := range d.tcp {
			p.tcpSet[n>>6] |= 1 << (n & 63)
		}
		for _, n := range d.udp {
			p.udpSet[n>>6] |= 1 << (n & 63)
		}
	}
	// Tunnels are always decoded.
	for _, n := range []uint16{2123, 2152, 3544, 4754, 4789, 5072, 6081} {
		p.udpSet[n>>6] |= 1 << (n & 63)
	}
	return p
}

func (p *ports) tcp(n uint16) bool { return p.tcpSet[n>>6]&(1<<(n&63)) != 0 }
func (p *ports) udp(n uint16) bool { return p.udpSet[n>>6]&(1<<(n&63)) != 0 }

// Protocols lists the names Options.Protocols may hold.
func Protocols() []string {
	names := make([]string, len(protocols))
	for i, d := range protocols {
		names[i] = d.name
	}
	return names
}
