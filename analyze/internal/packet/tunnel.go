package packet

import "encoding/binary"

// TunnelKind names an encapsulation.
type TunnelKind uint8

// The encapsulations.
const (
	NoTunnel TunnelKind = iota
	TunnelIP
	TunnelGRE
	TunnelTeredo
	TunnelGTPv1
	TunnelVXLAN
	TunnelGeneve
	TunnelAYIYA
)

// String returns Zeek's name of the tunnel's protocol analyzer.
func (k TunnelKind) String() string {
	switch k {
	case TunnelIP:
		return "ip"
	case TunnelGRE:
		return "gre"
	case TunnelTeredo:
		return "teredo"
	case TunnelGTPv1:
		return "gtpv1"
	case TunnelVXLAN:
		return "vxlan"
	case TunnelGeneve:
		return "geneve"
	case TunnelAYIYA:
		return "ayiya"
	}
	return "none"
}

// UDP ports tunnels are registered for (Zeek's packet-protocols scripts).
const (
	PortGTPUser    = 2152
	PortGTPControl = 2123
	PortTeredo     = 3544
	PortGREInUDP   = 4754
	PortVXLAN      = 4789
	PortAYIYA      = 5072
	PortGeneve     = 6081
)

// TunnelPort reports whether UDP port p carries a tunnel.
func TunnelPort(p uint16) TunnelKind {
	switch p {
	case PortGTPUser, PortGTPControl:
		return TunnelGTPv1
	case PortTeredo:
		return TunnelTeredo
	case PortGREInUDP:
		return TunnelGRE
	case PortVXLAN:
		return TunnelVXLAN
	case PortAYIYA:
		return TunnelAYIYA
	case PortGeneve:
		return TunnelGeneve
	}
	return NoTunnel
}

// Inner is what a tunnel header leads to.
type Inner struct {
	Link uint16 // LinkEthernet, LinkRaw or LinkWiFi
	Skip int    // bytes of tunnel header before it
	Want uint8  // 4 or 6 when the header says so, else 0
}

// Verdict says how a tunnel payload was understood.
type Verdict uint8

// The verdicts.
const (
	Carries   Verdict = iota // it carries a packet
	Empty                    // right protocol, but no packet inside
	Ignored                  // not this tunnel's data, nothing wrong with it
	Violation                // not this protocol
)

// DecodeGRE reads a GRE header (RFC 2784, 2890), PPTP's (RFC 2637) or one of
// ERSPAN's three.
func DecodeGRE(b []byte) (Inner, Verdict) {
	if len(b) < 4 {
		return Inner{}, Violation
	}
	flags, typ := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	version, n := flags&7, 4
	for _, f := range []uint16{0x8000, 0x2000, 0x1000, 0x0080} { // checksum, key, sequence, acknowledgement
		if flags&f != 0 {
			n += 4
		}
	}
	in := Inner{Link: LinkRaw}
	switch {
	case version > 1, flags&0x4000 != 0, flags&0x0078 != 0:
		return Inner{}, Violation
	case version == 1:
		if typ != 0x880b || len(b) < n+4 {
			return Inner{}, Violation
		}
		switch binary.BigEndian.Uint16(b[n+2:]) {
		case pppIPv4:
			in.Want = 4
		case pppIPv6:
			in.Want = 6
		default:
			return Inner{}, Ignored
		}
		n += 4
	case typ == 0x6558: // transparent Ethernet bridging
		in.Link = LinkEthernet
	case typ == 0x88be: // ERSPAN I, or II when a sequence number is there
		in.Link = LinkEthernet
		if flags&0x1000 != 0 {
			n += 8
		}
	case typ == 0x22eb: // ERSPAN III
		if len(b) <= n+14+12 {
			return Inner{}, Violation
		}
		in.Link = LinkEthernet
		if b[n+11]&1 != 0 {
			n += 8
		}
		n += 12
	case typ&0xff0f == 0x8200 || typ&0xff0f == 0x8300 && typ <= 0x8370: // Aruba: 802.11 frames
		in.Link = LinkWiFi
	case typ == etherIPv4:
		in.Want = 4
	case typ == etherIPv6:
		in.Want = 6
	case typ == etherMPLS:
		return Inner{}, Ignored
	}
	if in.Link == LinkEthernet && len(b) <= n+14 || len(b) < n {
		return Inner{}, Violation
	}
	in.Skip = n
	return in, Carries
}

// DecodeVXLAN reads a VXLAN header (RFC 7348).
func DecodeVXLAN(b []byte) (Inner, Verdict) {
	if len(b) < 8 || b[0]&8 == 0 {
		return Inner{}, Violation
	}
	if len(b) == 8 {
		return Inner{}, Empty
	}
	return Inner{Link: LinkEthernet, Skip: 8}, Carries
}

// DecodeGeneve reads a Geneve header (RFC 8926).
func DecodeGeneve(b []byte) (Inner, Verdict) {
	if len(b) < 8 {
		return Inner{}, Violation
	}
	if b[0]>>6 != 0 {
		return Inner{}, Ignored
	}
	n := 8 + int(b[0]&0x3f)*4
	switch {
	case n > len(b):
		return Inner{}, Violation
	case n == len(b):
		return Inner{}, Empty
	}
	switch binary.BigEndian.Uint16(b[2:]) {
	case 0x6558:
		return Inner{Link: LinkEthernet, Skip: n}, Carries
	case etherIPv4, etherIPv6:
		return Inner{Link: LinkRaw, Skip: n}, Carries
	}
	return Inner{}, Empty
}

// DecodeGTP reads a GTP-U header, version 1 (3GPP TS 29.281), of a message that
// carries a user's packet. The inner packet must fill the rest exactly.
func DecodeGTP(b []byte) (Inner, Verdict) {
	if len(b) < 8 || b[0]>>5 != 1 {
		return Inner{}, Violation
	}
	if b[0]&0x10 == 0 || b[1] != 0xff { // GTP', or not a G-PDU
		return Inner{}, Ignored
	}
	n := 8
	if b[0]&7 != 0 {
		n += 4
		if len(b) < n {
			return Inner{}, Violation
		}
		next := b[n-1]
		for i := 0; b[0]&4 != 0 && next != 0; i++ {
			if i == 16 || n >= len(b) || b[n] == 0 {
				return Inner{}, Violation
			}
			n += int(b[n]) * 4
			if n > len(b) {
				return Inner{}, Violation
			}
			next = b[n-1]
		}
	}
	if !exactIP(b[n:]) {
		return Inner{}, Violation
	}
	return Inner{Link: LinkRaw, Skip: n}, Carries
}

// exactIP reports whether b is one IP packet, neither longer nor shorter.
func exactIP(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return int(binary.BigEndian.Uint16(b[2:])) == len(b)
	case 6:
		return len(b) >= 40 && int(binary.BigEndian.Uint16(b[4:]))+40 == len(b)
	}
	return false
}

// DecodeTeredo reads Teredo's authentication and origin headers (RFC 4380 §5.1.1).
func DecodeTeredo(b []byte) (Inner, Verdict) {
	n, origin, auth := 0, false, false
	for {
		if len(b) < n+2 {
			return Inner{}, Violation
		}
		tag := binary.BigEndian.Uint16(b[n:])
		switch {
		case tag == 0 && !origin && len(b) >= n+8:
			origin, n = true, n+8
			continue
		case tag == 1 && !origin && !auth && len(b) >= n+4:
			auth, n = true, n+4+int(b[n+2])+int(b[n+3])+9
			continue
		case tag>>12 == 6 && len(b) >= n+40:
		default:
			return Inner{}, Violation
		}
		size := int(binary.BigEndian.Uint16(b[n+4:])) + 40
		bubble := b[n+6] == ProtoNone && size == 40
		if size > len(b)-n || size < len(b)-n && !bubble {
			return Inner{}, Violation
		}
		return Inner{Link: LinkRaw, Skip: n, Want: 6}, Carries
	}
}

// DecodeAYIYA reads an AYIYA header (draft-massar-v6ops-ayiya-02).
func DecodeAYIYA(b []byte) (Inner, Verdict) {
	if len(b) < 8 {
		return Inner{}, Violation
	}
	n := 8 + 1<<(b[0]>>4) + int(b[1]>>4)*4
	if n > len(b) {
		return Inner{}, Violation
	}
	if b[2]&15 != 1 {
		return Inner{}, Ignored
	}
	if n == len(b) {
		return Inner{}, Empty
	}
	switch b[3] {
	case ProtoIPv4, ProtoIPv6:
		return Inner{Link: LinkRaw, Skip: n}, Carries
	}
	return Inner{}, Empty
}

// LooksTeredo recognizes a Teredo datagram on any port: a bare IPv6 packet with
// an address of the Teredo prefix 2001:0::/32 (RFC 4380 §2.6).
func LooksTeredo(b []byte) bool {
	return len(b) >= 40 && b[0]>>4 == 6 &&
		(binary.BigEndian.Uint32(b[8:]) == 0x20010000 || binary.BigEndian.Uint32(b[24:]) == 0x20010000)
}
