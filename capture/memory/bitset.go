package memory

import "math/bits"

// bitset is a set of page numbers below a fixed bound.
type bitset []uint64

func newBitset(n uint64) bitset { return make(bitset, (n+63)/64) }

func (b bitset) has(n uint64) bool {
	return n/64 < uint64(len(b)) && b[n/64]>>(n%64)&1 != 0
}

// add ignores numbers beyond the bound: they come from guests.
func (b bitset) add(n uint64) {
	if n/64 < uint64(len(b)) {
		b[n/64] |= 1 << (n % 64)
	}
}

func (b bitset) count() uint64 {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return uint64(n)
}

// addBytes adds what a bitmap of Xen holds: bit n%8 of byte n/8.
func (b bitset) addBytes(m []byte) {
	for i, v := range m {
		if i/8 >= len(b) {
			return
		}
		b[i/8] |= uint64(v) << (i % 8 * 8)
	}
}

// all calls yield with each member, ascending, until it returns false.
func (b bitset) all(yield func(n uint64) bool) {
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			if !yield(uint64(i*64 + bits.TrailingZeros64(w))) {
				return
			}
		}
	}
}
