package network

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// A table finds the live connection of a packet. It is open addressing by a 64-bit
// hash of the key, which is nearly always all that is looked at besides the
// connection itself, and nothing is hashed when the packet belongs to the same
// connection as the one before.
type table struct {
	slots []slot // a power of two of them, no more than half in use
	size  int
	last  *conn
	seed  [4]uint64
}

// slot is free when c is nil.
type slot struct {
	hash uint64
	c    *conn
}

// minSlots is the size of an empty table.
const minSlots = 64

// newTable returns an empty table. Its hash is seeded, so that nobody can send
// packets made to collide; no result depends on the seed.
func newTable() *table {
	t := &table{slots: make([]slot, minSlots)}
	s := maphash.MakeSeed()
	for i := range t.seed {
		t.seed[i] = maphash.Bytes(s, []byte{byte(i)}) | 1
	}
	return t
}

func (t *table) len() int { return t.size }

// hash mixes the words of a key two at a time by 128-bit multiplication.
func (t *table) hash(k *key) uint64 {
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
func (t *table) find(k *key) (c *conn, hash uint64) {
	if c = t.last; c != nil && c.key.is(k) {
		return c, c.hash
	}
	hash = t.hash(k)
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; t.slots[i].c != nil; i = (i + 1) & mask {
		if c = t.slots[i].c; t.slots[i].hash == hash && c.key.is(k) {
			t.last = c
			return c, hash
		}
	}
	return nil, hash
}

// add takes a connection that is not in the table. hash is that of its key.
func (t *table) add(c *conn, hash uint64) {
	if 2*(t.size+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.c != nil {
				t.put(s)
			}
		}
	}
	c.hash = hash
	t.put(slot{hash, c})
	t.last = c
	t.size++
}

func (t *table) put(s slot) {
	mask := uint64(len(t.slots) - 1)
	i := s.hash & mask
	for t.slots[i].c != nil {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

// remove takes a connection out. Those after it move up, each as far as it may
// towards the slot its hash names.
func (t *table) remove(c *conn) {
	if t.last == c {
		t.last = nil
	}
	t.size--
	mask := uint64(len(t.slots) - 1)
	hole := c.hash & mask
	for t.slots[hole].c != c {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; t.slots[i].c != nil; i = (i + 1) & mask {
		if home := t.slots[i].hash & mask; (i-home)&mask >= (i-hole)&mask {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = slot{}
}

// all yields the connections in no order; the one yielded may be removed. One may
// be yielded twice when others are.
func (t *table) all() iter.Seq[*conn] {
	return func(yield func(*conn) bool) {
		for i := 0; i < len(t.slots); {
			c := t.slots[i].c
			if c != nil && !yield(c) {
				return
			}
			if t.slots[i].c == c { // else the next one moved here
				i++
			}
		}
	}
}
