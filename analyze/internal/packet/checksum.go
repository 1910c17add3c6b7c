package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum is the Internet checksum's one's complement sum (RFC 1071) of b, starting
// from a partial sum. Data with its checksum in place sums to 0xffff.
func Sum(b []byte, start uint64) uint16 {
	var carry uint64
	sum := start
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	sum, carry = bits.Add64(sum, carry, 0)
	sum += carry
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), 0)
		sum += carry
	}
	return fold(sum)
}

func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	s := uint32(sum)
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// ValidChecksum reports whether the transport segment (header and payload) sums
// right under the pseudo header of ip (RFC 9293, RFC 8200 §8.1).
func (ip *IP) ValidChecksum(segment []byte, proto uint8) bool {
	return Sum(segment, ip.pseudo(len(segment), proto)) == 0xffff
}

func (ip *IP) pseudo(length int, proto uint8) uint64 {
	sum := uint64(length) + uint64(proto)
	add := func(a *Addr) {
		for i := 0; i < 16; i += 4 {
			sum += uint64(binary.BigEndian.Uint32(a[i:]))
		}
		if !ip.V6 {
			sum -= 0xffff // the prefix of a mapped address is not in the header
		}
	}
	add(&ip.Src)
	add(&ip.Dst)
	return sum
}
