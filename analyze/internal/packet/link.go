package packet

import "encoding/binary"

// LINKTYPE_ values this package decodes (www.tcpdump.org/linktypes.html).
const (
	LinkNull      = 0
	LinkEthernet  = 1
	LinkPPP       = 9
	LinkFDDI      = 10
	LinkRawBSD    = 12 // DLT_RAW on most systems
	LinkRawOpen   = 14 // DLT_RAW on OpenBSD
	LinkPPPSerial = 50
	LinkPPPEther  = 51
	LinkRaw       = 101
	LinkWiFi      = 105
	LinkLoop      = 108
	LinkLinuxSLL  = 113
	LinkRadiotap  = 127
	LinkIPv4      = 228
	LinkIPv6      = 229
	LinkNFLog     = 239
	LinkLinuxSLL2 = 276
)

// EtherType values met on the way to IP (IEEE 802 numbers).
const (
	etherIPv4      = 0x0800
	etherVLAN      = 0x8100
	etherFabric    = 0x8903 // Cisco FabricPath
	etherMPLS      = 0x8847
	etherMPLSMulti = 0x8848
	etherIPv6      = 0x86dd
	etherPPPoE     = 0x8864
	etherQinQ      = 0x88a8
	etherPBB       = 0x88e7 // IEEE 802.1ah
	etherVNTag     = 0x8926
	etherQinQOld   = 0x9100
)

// PPP protocol numbers (RFC 1661, RFC 3032).
const (
	pppIPv4 = 0x0021
	pppIPv6 = 0x0057
	pppMPLS = 0x0281
)

// maxLinkHeaders bounds the headers stacked below IP. Real stacks are four or
// five deep; a crafted one could nest a header every few bytes.
const maxLinkHeaders = 32

// A Frame is what a link layer carries when that looks like IP.
type Frame struct {
	Data      []byte // from the first byte of the IP header
	Trimmed   int    // captured bytes after Data that a link header's length field left out
	VLAN      uint16 // outer 802.1Q identifier, 0 when untagged
	InnerVLAN uint16 // inner identifier of a double tag
}

// Frames collects what Link finds in one captured frame. There is more than one
// only where a wireless frame aggregates several (A-MSDU). It is reused from
// packet to packet.
type Frames struct {
	list []Frame
	size int // of the captured frame
	room int // its capacity
	vlan [2]uint16
}

// Link strips the link layer lt from data and returns the IP packets inside; the
// result is valid until the next call. Frames that carry something else, or are
// too short to say, give none.
func (f *Frames) Link(lt uint16, data []byte) []Frame {
	f.list, f.size, f.room = f.list[:0], len(data), cap(data)
	f.vlan = [2]uint16{}
	switch lt {
	case LinkEthernet:
		f.ethernet(data, 0)
	case LinkRaw, LinkRawBSD, LinkRawOpen, LinkIPv4, LinkIPv6:
		f.add(data)
	case LinkNull, LinkLoop:
		// A 4-byte address family, in the byte order of the capturing host;
		// its values differ between systems, the IP version nibble does not.
		f.skip(data, 4)
	case LinkPPP:
		f.ppp(data)
	case LinkPPPSerial:
		if len(data) > 4 {
			f.pppProto(binary.BigEndian.Uint16(data[2:]), data[4:])
		}
	case LinkPPPEther:
		f.pppoe(data)
	case LinkFDDI:
		f.skip(data, 13+8)
	case LinkWiFi:
		f.wifi(data)
	case LinkRadiotap:
		if len(data) > 4 {
			if n := int(binary.LittleEndian.Uint16(data[2:])); n < len(data) {
				f.wifi(data[n:])
			}
		}
	case LinkLinuxSLL:
		if len(data) > 16 {
			f.etherType(binary.BigEndian.Uint16(data[14:]), data[16:], 0)
		}
	case LinkLinuxSLL2:
		if len(data) > 20 {
			f.etherType(binary.BigEndian.Uint16(data), data[20:], 0)
		}
	case LinkNFLog:
		f.nflog(data)
	}
	return f.list
}

func (f *Frames) add(ip []byte) {
	if len(ip) >= 20 && (ip[0]>>4 == 4 || ip[0]>>4 == 6) {
		// ip is a part of the frame: their capacities tell where it begins.
		after := f.size - (f.room - cap(ip)) - len(ip)
		f.list = append(f.list, Frame{Data: ip, Trimmed: after, VLAN: f.vlan[0], InnerVLAN: f.vlan[1]})
	}
}

func (f *Frames) skip(data []byte, n int) {
	if len(data) > n {
		f.add(data[n:])
	}
}

func (f *Frames) ethernet(data []byte, depth int) {
	if len(data) <= 16 {
		return
	}
	if binary.BigEndian.Uint16(data[12:]) == etherFabric {
		if len(data) <= 16+14 {
			return
		}
		data = data[16:]
	}
	f.etherOrLength(binary.BigEndian.Uint16(data[12:]), data[14:], depth)
}

// etherOrLength handles the field that is an EtherType from 1536 and an IEEE
// 802.3 length up to 1500.
func (f *Frames) etherOrLength(v uint16, data []byte, depth int) {
	switch {
	case v >= 1536:
		f.etherType(v, data, depth)
	case v <= 1500 && len(data) >= 2:
		if len(data) > int(v) {
			data = data[:v]
		}
		if len(data) >= 2 && data[0] == 0xaa && data[1] == 0xaa {
			f.snap(data)
		}
	}
}

// etherType follows headers named by an EtherType down to IP.
func (f *Frames) etherType(typ uint16, data []byte, depth int) {
	for ; depth < maxLinkHeaders; depth++ {
		switch typ {
		case etherIPv4, etherIPv6:
			f.add(data)
			return
		case etherVLAN, etherQinQ, etherQinQOld:
			if len(data) <= 4 {
				return
			}
			f.tag(binary.BigEndian.Uint16(data) & 0xfff)
			typ, data = binary.BigEndian.Uint16(data[2:]), data[4:]
			if typ < 1536 {
				f.etherOrLength(typ, data, depth+1)
				return
			}
		case etherVNTag:
			if len(data) <= 6 {
				return
			}
			typ, data = binary.BigEndian.Uint16(data[4:]), data[6:]
		case etherMPLS, etherMPLSMulti:
			f.mpls(data)
			return
		case etherPBB:
			// A 4-byte I-TAG, then the customer's frame from its destination.
			if len(data) > 18 {
				f.ethernet(data[4:], depth+1)
			}
			return
		case etherPPPoE:
			f.pppoe(data)
			return
		default:
			return
		}
	}
}

func (f *Frames) tag(id uint16) {
	if f.vlan[0] == 0 {
		f.vlan[0] = id
	} else {
		f.vlan[1] = id
	}
}

// mpls skips the label stack (RFC 3032). The stack does not name what follows:
// it is taken for IP.
func (f *Frames) mpls(data []byte) {
	for len(data) > 4 {
		bottom := data[2]&1 != 0
		data = data[4:]
		if bottom {
			f.add(data)
			return
		}
	}
}

// snap handles IEEE 802.2 LLC with SNAP, organization code 0 (EtherTypes).
func (f *Frames) snap(data []byte) {
	if len(data) < 3 {
		return
	}
	n := 3
	if data[2]&3 != 3 {
		n = 4 // numbered frames have a two-byte control field
	}
	if len(data) < n+5 || data[n] != 0 || data[n+1] != 0 || data[n+2] != 0 {
		return
	}
	if typ := binary.BigEndian.Uint16(data[n+3:]); typ == etherIPv4 || typ == etherIPv6 {
		f.add(data[n+5:])
	}
}

// pppoe handles a PPPoE session payload (RFC 2516), trimmed to its own length.
func (f *Frames) pppoe(data []byte) {
	if len(data) <= 8 {
		return
	}
	n := max(int(binary.BigEndian.Uint16(data[4:]))-2, 0)
	proto := binary.BigEndian.Uint16(data[6:])
	f.pppProto(proto, data[8:8+min(n, len(data)-8)])
}

func (f *Frames) ppp(data []byte) {
	if len(data) > 4 && data[0] == 0xff && data[1] == 0x03 { // HDLC framing, RFC 1662
		data = data[2:]
	}
	if len(data) > 2 {
		f.pppProto(binary.BigEndian.Uint16(data), data[2:])
	}
}

func (f *Frames) pppProto(proto uint16, data []byte) {
	switch proto {
	case pppIPv4, pppIPv6:
		f.add(data)
	case pppMPLS:
		f.mpls(data)
	}
}

// nflog walks the TLVs of LINKTYPE_NFLOG to the packet payload (type 9). They are in
// the byte order of the capturing host, which is taken to be little-endian: what is
// read must not depend on the machine it is read on.
func (f *Frames) nflog(data []byte) {
	if len(data) <= 4 || data[1] != 0 {
		return
	}
	for data = data[4:]; len(data) >= 4; {
		n := int(binary.LittleEndian.Uint16(data))
		typ := binary.LittleEndian.Uint16(data[2:])
		if n < 4 || n > len(data) {
			return
		}
		if typ == 9 {
			f.add(data[4:n])
			return
		}
		n = (n + 3) &^ 3
		if n > len(data) {
			return
		}
		data = data[n:]
	}
}
