package format

import (
	"math/rand/v2"
	"sync"
)

// bodyCache keeps opened pages chunks, up to a number of bytes. When it is full, one
// drawn at random makes room: who reads image after image asks for the same chunks in
// the same order again and again, and had what was longest without use to go, then
// with one chunk too many for the cache each would be gone when its turn comes. What
// is drawn decides what is read twice, never what is read.
type bodyCache struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	entries []cacheEntry
	place   map[uint64]int // in entries, by number
	draw    *rand.Rand
}

type cacheEntry struct {
	number uint64
	pack   *packBody
	size   int64
}

func newBodyCache(limit int64) *bodyCache {
	return &bodyCache{limit: limit, place: map[uint64]int{}, draw: rand.New(rand.NewPCG(0, 0))}
}

func (c *bodyCache) get(number uint64) *packBody {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.place[number]; ok {
		return c.entries[i].pack
	}
	return nil
}

func (c *bodyCache) put(number uint64, p *packBody) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.place[number]; ok {
		return
	}
	n := cacheEntry{number: number, pack: p, size: int64(cap(p.data)) + 12*int64(len(p.bases)) + 40*int64(len(p.runs))}
	for len(c.entries) > 0 && c.used+n.size > c.limit {
		c.drop(c.draw.IntN(len(c.entries)))
	}
	c.place[number] = len(c.entries)
	c.entries = append(c.entries, n)
	c.used += n.size
}

// drop forgets entry i; the last takes its place.
func (c *bodyCache) drop(i int) {
	last := len(c.entries) - 1
	c.used -= c.entries[i].size
	delete(c.place, c.entries[i].number)
	if i != last {
		c.entries[i] = c.entries[last]
		c.place[c.entries[i].number] = i
	}
	c.entries[last] = cacheEntry{}
	c.entries = c.entries[:last]
}
