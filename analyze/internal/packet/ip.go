package packet

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers used by name here and by the connection engine.
const (
	ProtoHopByHop = 0
	ProtoICMP     = 1
	ProtoIGMP     = 2
	ProtoIPv4     = 4
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoIPv6     = 41
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoGRE      = 47
	ProtoESP      = 50
	ProtoAH       = 51
	ProtoICMPv6   = 58
	ProtoNone     = 59
	ProtoDestOpts = 60
	ProtoSCTP     = 132
	ProtoMobility = 135
)

// Addr is an IP address in 16 bytes, IPv4 mapped into IPv6 (::ffff:a.b.c.d).
type Addr [16]byte

// Netip converts a to the standard library's type, unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Compare orders addresses by their bytes.
func (a *Addr) Compare(b *Addr) int {
	ah, bh := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])
	if ah == bh {
		ah, bh = binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])
	}
	switch {
	case ah < bh:
		return -1
	case ah > bh:
		return 1
	}
	return 0
}

// IsBroadcast reports whether a is 255.255.255.255.
func (a *Addr) IsBroadcast() bool {
	return binary.BigEndian.Uint32(a[12:]) == 0xffffffff && a.Is4()
}

// Is4 reports whether a is an IPv4 address.
func (a *Addr) Is4() bool {
	return binary.BigEndian.Uint64(a[:8]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0x0000ffff
}

// IP is a decoded IP header and where its payload lies.
type IP struct {
	Src, Dst Addr
	Header   []byte // the IP header with options or extension headers
	Payload  []byte // captured bytes after the header, without link-layer padding
	Total    int    // bytes of the datagram by its own header, header included; 0 where segmentation offload left it empty
	Wire     int    // bytes of payload that were on the wire, by Total
	Proto    uint8  // of the payload: the last next-header value
	TTL      uint8
	V6       bool
	Fragment bool   // a fragment that is not whole
	More     bool   // more fragments follow
	Offset   int    // of the fragment's payload in the datagram's, bytes
	ID       uint32 // identification, for fragments
}

// Reason says why a packet was not decoded.
type Reason uint8

// The reasons.
const (
	OK           Reason = iota
	Truncated           // shorter than its own headers say, or cut by the capture inside a header
	BadVersion          // neither IPv4 nor IPv6
	BadHeader           // lengths that contradict each other
	BadChecksum         // IPv4 header checksum
	LengthZero          // total length 0 and checksums are to be verified
	ManyHeaders         // more IPv6 extension headers than any sender makes
	reasonsCount        // number of reasons
)

// Reasons is how many Reason values there are, for counting by reason.
const Reasons = int(reasonsCount)

// maxExtensionHeaders bounds the IPv6 header chain.
const maxExtensionHeaders = 64

// DecodeIP decodes the IP packet at data[0]. wire is how many bytes from there
// were on the wire (at least len(data)). With trust set, checksums are not
// verified and a total length of zero is read as the captured length.
func DecodeIP(ip *IP, data []byte, wire int, trust bool) Reason {
	if len(data) < 20 {
		return Truncated
	}
	switch data[0] >> 4 {
	case 4:
		return decodeIPv4(ip, data, wire, trust)
	case 6:
		return decodeIPv6(ip, data, wire, trust)
	}
	return BadVersion
}

func map4(a *Addr, b []byte) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.LittleEndian.PutUint64(a[8:], 0xffff0000|uint64(binary.LittleEndian.Uint32(b))<<32)
}

func decodeIPv4(ip *IP, data []byte, wire int, trust bool) Reason {
	h := int(data[0]&15) * 4
	total := int(binary.BigEndian.Uint16(data[2:]))
	length := total
	if total == 0 {
		if !trust {
			return LengthZero
		}
		length = len(data)
	}
	switch {
	case wire < length:
		return Truncated
	case h < 20 || h > length:
		return BadHeader
	case h > len(data):
		return Truncated
	case !trust && Sum(data[:h], 0) != 0xffff:
		return BadChecksum
	}
	frag := binary.BigEndian.Uint16(data[6:])
	ip.Header = data[:h]
	ip.Payload = data[h:min(len(data), length)]
	ip.Total, ip.Wire = total, length-h
	ip.Proto, ip.TTL, ip.V6 = data[9], data[8], false
	ip.More, ip.Offset = frag&0x2000 != 0, int(frag&0x1fff)*8
	ip.Fragment = ip.More || ip.Offset != 0
	ip.ID = uint32(binary.BigEndian.Uint16(data[4:]))
	map4(&ip.Src, data[12:])
	map4(&ip.Dst, data[16:])
	return OK
}

func decodeIPv6(ip *IP, data []byte, wire int, trust bool) Reason {
	if len(data) < 40 {
		return Truncated
	}
	plen := int(binary.BigEndian.Uint16(data[4:]))
	length := plen + 40
	if plen == 0 && trust {
		length = max(length, len(data)) // jumbogram or segmentation offload
	}
	if wire < length {
		return Truncated
	}
	ip.Src, ip.Dst = Addr(data[8:24]), Addr(data[24:40])
	ip.TTL, ip.V6, ip.Total = data[7], true, plen+40
	ip.Fragment, ip.More, ip.Offset, ip.ID = false, false, 0, 0
	end := min(len(data), length)
	n, next := 40, data[6]
	for i := 0; ; i++ {
		if i == maxExtensionHeaders {
			return ManyHeaders
		}
		size := 0
		switch next {
		case ProtoHopByHop, ProtoRouting, ProtoDestOpts:
			if end >= n+2 {
				size = (int(data[n+1]) + 1) * 8
			}
		case ProtoAH:
			if end >= n+2 {
				size = (int(data[n+1]) + 2) * 4
			}
		case ProtoFragment:
			size = 8
		default:
			ip.Proto = next
			ip.Header, ip.Payload = data[:n], data[n:end]
			ip.Wire = length - n
			return OK
		}
		if size == 0 || n+size > end {
			return Truncated
		}
		if next == ProtoFragment {
			v := binary.BigEndian.Uint16(data[n+2:])
			ip.Offset, ip.More = int(v&^7), v&1 != 0
			ip.Fragment = ip.More || ip.Offset != 0
			ip.ID = binary.BigEndian.Uint32(data[n+4:])
		}
		if next == ProtoRouting {
			ip.routed(data[n : n+size])
		}
		next = data[n]
		n += size
		if ip.Offset != 0 { // what follows is not a header
			ip.Proto = next
			ip.Header, ip.Payload, ip.Wire = data[:n], data[n:end], length-n
			return OK
		}
	}
}

// routed takes the final destination from a routing header with segments left:
// the last address of the route (RFC 8200 §4.4, RFC 6275 §6.4) is the flow's
// endpoint, and what checksums are made over.
func (ip *IP) routed(h []byte) {
	if h[3] > 0 && len(h) >= 24 && (h[2] == 0 || h[2] == 2) {
		ip.Dst = Addr(h[len(h)-16:])
	}
}
