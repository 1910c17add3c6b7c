package network

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// A table finds the live connection of a packet. It is a map from a 64-bit hash
// to the connections that share it, which is nearly always one: the whole key of
// 48 bytes is hashed and compared once a packet, and not at all when the packet
// belongs to the same connection as the one before.
type table struct {
	chains map[uint64]*conn
	last   *conn
	size   int
	seed   [4]uint64
}

// newTable returns an empty table. Its hash is seeded, so that nobody can send
// packets made to collide; no result depends on the seed.
func newTable() *table {
	t := &table{chains: make(map[uint64]*conn)}
	s := maphash.MakeSeed()
	for i := range t.seed {
		t.seed[i] = maphash.Bytes(s, []byte{byte(i)}) | 1
	}
	return t
}

func (t *table) len() int { return t.size }

// hash mixes the words of a key two at a time by 128-bit multiplication.
func (t *table) hash(k *streamKey) uint64 {
	ports := uint64(k.pa)<<48 | uint64(k.pb)<<32 | uint64(k.stream)
	proto := uint64(k.proto) << 1
	if k.oneWay {
		proto |= 1
	}
	mix := func(x, y uint64) uint64 {
		hi, lo := bits.Mul64(x, y)
		return hi ^ lo
	}
	word := func(a *packet.Addr, i int) uint64 { return binary.LittleEndian.Uint64(a[i:]) }
	h := mix(word(&k.a, 0)^t.seed[0], word(&k.a, 8)^t.seed[1])
	h = mix(word(&k.b, 0)^h, word(&k.b, 8)^t.seed[2])
	return mix(ports^h, proto^t.seed[3])
}

// find returns the connection of a key, or nil, and the key's hash.
func (t *table) find(k *streamKey) (c *conn, hash uint64) {
	if c = t.last; c != nil && c.key == k.key && c.stream == k.stream {
		return c, c.hash
	}
	hash = t.hash(k)
	for c = t.chains[hash]; c != nil; c = c.chained {
		if c.key == k.key && c.stream == k.stream {
			t.last = c
			return c, hash
		}
	}
	return nil, hash
}

// add takes a connection that is not in the table. hash is that of its key.
func (t *table) add(c *conn, hash uint64) {
	c.hash, c.chained = hash, t.chains[hash]
	t.chains[hash] = c
	t.last = c
	t.size++
}

// remove takes a connection out.
func (t *table) remove(c *conn) {
	if t.last == c {
		t.last = nil
	}
	t.size--
	first := t.chains[c.hash]
	if first == c {
		if c.chained == nil {
			delete(t.chains, c.hash)
		} else {
			t.chains[c.hash] = c.chained
		}
		c.chained = nil
		return
	}
	for at := first; at != nil; at = at.chained {
		if at.chained == c {
			at.chained, c.chained = c.chained, nil
			return
		}
	}
}

// all yields the connections in no order; the one yielded may be removed.
func (t *table) all() iter.Seq[*conn] {
	return func(yield func(*conn) bool) {
		for _, c := range t.chains {
			for c != nil {
				next := c.chained
				if !yield(c) {
					return
				}
				c = next
			}
		}
	}
}
