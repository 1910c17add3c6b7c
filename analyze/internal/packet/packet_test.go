package packet

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// ipv4 makes an IPv4 packet with a right header checksum.
func ipv4(proto byte, frag uint16, id uint16, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, byte(id >> 8), byte(id), byte(frag >> 8), byte(frag), 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[10:], ^Sum(b, 0))
	return append(b, payload...)
}

func ipv6(next byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7], b[8], b[24], b[39] = 0x60, next, 64, 0x20, 0x20, 9
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	return append(b, payload...)
}

func ether(typ uint16, payload []byte) []byte {
	b := make([]byte, 12, 14+len(payload))
	return append(binary.BigEndian.AppendUint16(b, typ), payload...)
}

func decode(t *testing.T, b []byte) *IP {
	ip := new(IP)
	require.Equal(t, OK, DecodeIP(ip, b, len(b), false))
	return ip
}

func TestLinkLayers(t *testing.T) {
	inner := ipv4(ProtoUDP, 0, 1, make([]byte, 30))
	tag := func(typ uint16, b []byte) []byte {
		return append(append([]byte{0x00, 42}, byte(typ>>8), byte(typ)), b...)
	}
	pppoe := append([]byte{0x11, 0, 0, 1, 0, byte(len(inner) + 2), 0, 0x21}, inner...)
	for name, c := range map[string]struct {
		link uint16
		data []byte
	}{
		"ethernet":     {LinkEthernet, ether(etherIPv4, inner)},
		"vlan":         {LinkEthernet, ether(etherVLAN, tag(etherIPv4, inner))},
		"double vlan":  {LinkEthernet, ether(etherQinQ, tag(etherVLAN, tag(etherIPv4, inner)))},
		"mpls":         {LinkEthernet, ether(etherMPLS, append([]byte{0, 1, 0, 64, 0, 1, 1, 64}, inner...))},
		"pppoe":        {LinkEthernet, ether(etherPPPoE, pppoe)},
		"fabric path":  {LinkEthernet, append(ether(etherFabric, make([]byte, 2)), ether(etherIPv4, inner)...)},
		"cooked":       {LinkLinuxSLL, append([]byte{0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, inner...)},
		"cooked 2":     {LinkLinuxSLL2, append(append([]byte{8, 0}, make([]byte, 18)...), inner...)},
		"loopback":     {LinkNull, append([]byte{2, 0, 0, 0}, inner...)},
		"raw":          {LinkRaw, inner},
		"ppp":          {LinkPPP, append([]byte{0xff, 3, 0, 0x21}, inner...)},
		"llc snap":     {LinkEthernet, ether(uint16(8+len(inner)), append([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, inner...))},
		"provider bb":  {LinkEthernet, ether(etherPBB, append([]byte{0, 0, 0, 1}, ether(etherIPv4, inner)...))},
		"wireless":     {LinkWiFi, append(append([]byte{0x08, 0}, make([]byte, 22)...), append([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, inner...)...)},
		"radiotap":     {LinkRadiotap, append([]byte{0, 0, 8, 0, 0, 0, 0, 0}, append(append([]byte{0x08, 0}, make([]byte, 22)...), append([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, inner...)...)...)},
		"vn-tag":       {LinkEthernet, ether(etherVNTag, append([]byte{0, 0, 0, 0, 8, 0}, inner...))},
		"netfilter":    {LinkNFLog, append([]byte{2, 0, 0, 0, byte(4 + len(inner)), 0, 9, 0}, inner...)},
		"ppp, serial":  {LinkPPPSerial, append([]byte{0xff, 3, 0, 0x21}, inner...)},
		"fiber (fddi)": {LinkFDDI, append(make([]byte, 21), inner...)},
	} {
		var f Frames
		list := f.Link(c.link, c.data)
		require.Len(t, list, 1, name)
		require.Equal(t, inner, list[0].Data, name)
	}
	var f Frames
	got := f.Link(LinkEthernet, ether(etherQinQ, tag(etherVLAN, tag(etherIPv4, inner))))
	require.Equal(t, [2]uint16{42, 42}, [2]uint16{got[0].VLAN, got[0].InnerVLAN})
	require.Empty(t, f.Link(LinkEthernet, ether(0x0806, make([]byte, 28))), "ARP is not IP")
	require.Empty(t, f.Link(999, inner))
}

func TestDecodeIPRejects(t *testing.T) {
	good := ipv4(ProtoTCP, 0, 1, make([]byte, 20))
	var ip IP
	bad := append([]byte{}, good...)
	bad[8]--
	require.Equal(t, BadChecksum, DecodeIP(&ip, bad, len(bad), false))
	require.Equal(t, OK, DecodeIP(&ip, bad, len(bad), true))
	require.Equal(t, Truncated, DecodeIP(&ip, good[:30], 30, false))
	require.Equal(t, OK, DecodeIP(&ip, good[:30], len(good), false), "cut by the capture, not on the wire")
	require.Equal(t, 20, ip.Wire)
	require.Len(t, ip.Payload, 10)
	long := append(append([]byte{}, good...), 0, 0, 0, 0)
	require.Equal(t, OK, DecodeIP(&ip, long, len(long), false))
	require.Len(t, ip.Payload, 20, "padding is not payload")
}

func TestIPv6Headers(t *testing.T) {
	udp := make([]byte, 8)
	hop := append([]byte{ProtoDestOpts, 0, 1, 4, 0, 0, 0, 0}, append([]byte{ProtoUDP, 0, 1, 4, 0, 0, 0, 0}, udp...)...)
	ip := decode(t, ipv6(ProtoHopByHop, hop))
	require.Equal(t, uint8(ProtoUDP), ip.Proto)
	require.Len(t, ip.Payload, 8)
	endless := make([]byte, 8*200)
	var out IP
	require.Equal(t, ManyHeaders, DecodeIP(&out, ipv6(ProtoHopByHop, endless), 40+len(endless), false))
}

func TestFragmentsInAnyOrder(t *testing.T) {
	payload := make([]byte, 100)
	for i := range payload {
		payload[i] = byte(i)
	}
	parts := [][]byte{
		ipv4(ProtoUDP, 0x2000, 7, payload[:40]),
		ipv4(ProtoUDP, 0x2000|5, 7, payload[40:80]),
		ipv4(ProtoUDP, 10, 7, payload[80:]),
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 0, 2, 1}, {2, 0, 2, 1}} {
		var d Defragmenter
		done := false
		for _, i := range order {
			ip := decode(t, parts[i])
			require.True(t, ip.Fragment)
			if d.Add(ip, 0) {
				done = true
				require.Equal(t, payload, ip.Payload)
				require.Equal(t, 120, ip.Total)
				require.False(t, ip.Fragment)
			}
		}
		require.True(t, done, order)
		require.Empty(t, d.table)
		require.Zero(t, d.bytes)
	}
}

func TestFragmentsAreGivenUp(t *testing.T) {
	var d Defragmenter
	require.False(t, d.Add(decode(t, ipv4(ProtoUDP, 0x2000, 1, make([]byte, 16))), 0))
	require.False(t, d.Add(decode(t, ipv4(ProtoUDP, 0x2000, 2, make([]byte, 16))), FragmentTimeout))
	require.Equal(t, uint64(1), d.Dropped)
	require.Len(t, d.table, 1)
	for i := range 70000 {
		ip := decode(t, ipv4(ProtoUDP, 0x2000, uint16(i), make([]byte, 16)))
		ip.ID = uint32(i) // more than 16 bits of them
		d.Add(ip, FragmentTimeout)
	}
	require.LessOrEqual(t, len(d.table), maxFragmentBytes/1024)
	require.LessOrEqual(t, d.bytes, maxFragmentBytes)
}

func TestTunnelHeaders(t *testing.T) {
	inner := ipv4(ProtoUDP, 0, 1, make([]byte, 8))
	frame := ether(etherIPv4, inner)
	for name, c := range map[string]struct {
		decode func([]byte) (Inner, Verdict)
		data   []byte
		skip   int
	}{
		"gre":          {DecodeGRE, append([]byte{0, 0, 8, 0}, inner...), 4},
		"gre key":      {DecodeGRE, append([]byte{0x20, 0, 8, 0, 0, 0, 0, 1}, inner...), 8},
		"gre ethernet": {DecodeGRE, append([]byte{0, 0, 0x65, 0x58}, frame...), 4},
		"erspan 2":     {DecodeGRE, append([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, frame...), 16},
		"vxlan":        {DecodeVXLAN, append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, frame...), 8},
		"geneve":       {DecodeGeneve, append([]byte{1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0}, frame...), 12},
		"gtp":          {DecodeGTP, append([]byte{0x30, 0xff, 0, 28, 0, 0, 0, 1}, inner...), 8},
		"teredo":       {DecodeTeredo, append([]byte{0, 0, 1, 2, 3, 4, 5, 6}, ipv6(ProtoNone, nil)...), 8},
	} {
		in, v := c.decode(c.data)
		require.Equal(t, Carries, v, name)
		require.Equal(t, c.skip, in.Skip, name)
	}
	_, v := DecodeVXLAN(make([]byte, 20))
	require.Equal(t, Violation, v)
	_, v = DecodeGTP(append([]byte{0x30, 0xff, 0, 28, 0, 0, 0, 1}, inner[:10]...))
	require.Equal(t, Violation, v)
}

// FuzzDecode: whatever is decoded lies within what was given, and the sum of
// any data over its own complement is right.
func FuzzDecode(f *testing.F) {
	f.Add(ether(etherIPv4, ipv4(ProtoTCP, 0, 1, make([]byte, 20))), uint16(1))
	f.Add(ipv6(ProtoFragment, make([]byte, 40)), uint16(LinkRaw))
	f.Add(append([]byte{0x88, 0}, make([]byte, 60)...), uint16(LinkWiFi))
	f.Fuzz(func(t *testing.T, b []byte, link uint16) {
		var frames Frames
		var d Defragmenter
		for _, fr := range frames.Link(link, b) {
			require.LessOrEqual(t, len(fr.Data)+fr.Trimmed, len(b))
			var ip IP
			if DecodeIP(&ip, fr.Data, len(fr.Data)+fr.Trimmed, true) != OK {
				continue
			}
			require.LessOrEqual(t, len(ip.Header)+len(ip.Payload), len(fr.Data))
			if ip.Fragment {
				d.Add(&ip, 0)
			}
			var seg TCP
			if DecodeTCP(&seg, ip.Payload, ip.Wire) == OK {
				require.LessOrEqual(t, seg.Header, len(ip.Payload))
			}
			for _, decode := range []func([]byte) (Inner, Verdict){DecodeGRE, DecodeVXLAN, DecodeGeneve, DecodeGTP, DecodeTeredo, DecodeAYIYA} {
				if in, v := decode(ip.Payload); v == Carries {
					require.LessOrEqual(t, in.Skip, len(ip.Payload))
				}
			}
		}
		even := b[:len(b)&^1]
		require.Equal(t, uint16(0xffff), Sum(binary.BigEndian.AppendUint16(append([]byte{}, even...), ^Sum(even, 0)), 0))
	})
}
