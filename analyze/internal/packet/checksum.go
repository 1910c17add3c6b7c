package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum is the Internet checksum's one's complement sum (RFC 1071) of b, starting
// from a partial sum. Data with its checksum in place sums to 0xffff.
//
// The words are added as little-endian machines load them, and the result is
// turned round once: the sum does not depend on the order of bytes (RFC 1071
// §2(B)).
func Sum(b []byte, start uint64) uint16 {
	var sum, carry uint64
	whole := b
	for len(b) >= 64 {
		w := b[:64:64]
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w), 0)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[56:]), carry)
		sum += carry
		b = b[64:]
	}
	carry = 0
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		sum, carry = bits.Add64(sum, last(whole, len(b)), carry)
	}
	sum, carry = bits.Add64(sum, carry, 0)
	body := bits.ReverseBytes16(fold(sum + carry))
	return fold(start + uint64(body))
}

// last returns the last n bytes of b, 1 to 7, as the low bytes of a word.
func last(b []byte, n int) uint64 {
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (64 - 8*n)
	}
	word := uint64(0)
	for i := len(b) - 1; i >= 0; i-- {
		word = word<<8 | uint64(b[i])
	}
	return word
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
