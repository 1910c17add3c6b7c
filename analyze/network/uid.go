package network

import (
	"crypto/sha1" //nolint:gosec // community-id v1 is defined with SHA-1
	"encoding/base64"
	"encoding/binary"

	"github.com/xentape/xentape/analyze/internal/packet"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// makeUID names a connection in Zeek's style: 'C' and 96 bits in base 62. It is
// a function of what was on the wire: the addresses, the number of the interface
// in order of its first packet, and the wall-clock start, ns. The same packets
// have the same names, from a tape or a capture file. again numbers connections
// that have all of these in common.
func makeUID(k key, iface uint32, start int64, again uint32) string {
	var b [16 + 16 + 2 + 2 + 1 + 4 + 8 + 4]byte
	copy(b[0:], k.a[:])
	copy(b[16:], k.b[:])
	binary.BigEndian.PutUint16(b[32:], k.pa)
	binary.BigEndian.PutUint16(b[34:], k.pb)
	b[36] = k.proto
	binary.BigEndian.PutUint32(b[37:], iface)
	binary.BigEndian.PutUint64(b[41:], uint64(start))
	binary.BigEndian.PutUint32(b[49:], again)
	return digest62('C', b[:])
}

// digest62 is a letter, and 96 bits of the digest of b in base 62.
func digest62(letter byte, b []byte) string {
	sum := sha1.Sum(b)
	hi, lo := binary.BigEndian.Uint64(sum[:]), uint64(binary.BigEndian.Uint32(sum[8:]))
	out := append(make([]byte, 0, 18), letter)
	for i := 0; i < 11; i++ {
		out = append(out, base62[hi%62])
		hi /= 62
	}
	for i := 0; i < 6; i++ {
		out = append(out, base62[lo%62])
		lo /= 62
	}
	return string(out)
}

// CommunityID is the flow hash of github.com/corelight/community-id-spec,
// version 1, seed 0: equal for both directions, and for every tool.
// For ICMP the ports are the type and its counterpart (or code).
func CommunityID(src, dst packet.Addr, sp, dp uint16, proto uint8, oneWay bool) string {
	k := makeKey(&src, &dst, sp, dp, proto, oneWay)
	var buf [2 + 16 + 16 + 2 + 4]byte
	b := buf[:2]
	for _, a := range [...]*packet.Addr{&k.a, &k.b} {
		if a.Is4() {
			b = append(b, a[12:]...)
		} else {
			b = append(b, a[:]...)
		}
	}
	b = append(b, proto, 0)
	switch proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP, packet.ProtoICMP, packet.ProtoICMPv6:
		b = binary.BigEndian.AppendUint16(b, k.pa)
		b = binary.BigEndian.AppendUint16(b, k.pb)
	}
	sum := sha1.Sum(b)
	out := [2 + 28]byte{'1', ':'}
	base64.StdEncoding.Encode(out[2:], sum[:])
	return string(out[:])
}
