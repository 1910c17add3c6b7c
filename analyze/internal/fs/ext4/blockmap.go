package ext4

import (
	"slices"
	"sort"
)

// shiftable values describe a run by its first block; shift moves them n blocks on.
type shiftable[V any] interface {
	comparable
	shift(n uint64) V
}

// span is a run within a bucket, relative to the bucket's first block.
type span[V any] struct {
	start, end uint32
	v          V
}

// bucketBlocks bounds the cost of inserting into a fragmented stretch.
const bucketBlocks = 4096

// blockMap maps runs of blocks to values. It costs memory by the run, not by the
// block, so that what an image merely claims cannot exhaust it.
type blockMap[V shiftable[V]] struct {
	buckets map[uint64][]span[V]
}

func newBlockMap[V shiftable[V]]() *blockMap[V] {
	return &blockMap[V]{buckets: map[uint64][]span[V]{}}
}

// set gives the blocks [start, start+n) the value v, whatever they had. v is the
// value at start.
func (m *blockMap[V]) set(start, n uint64, v V) {
	m.split(start, n, func(b uint64, from, to uint32, skipped uint64) {
		s := span[V]{from, to, v.shift(skipped)}
		m.buckets[b] = replace(m.buckets[b], from, to, &s)
	})
}

// clear leaves the blocks without a value.
func (m *blockMap[V]) clear(start, n uint64) {
	m.split(start, n, func(b uint64, from, to uint32, _ uint64) {
		if old := m.buckets[b]; len(old) > 0 {
			if left := replace(old, from, to, nil); len(left) > 0 {
				m.buckets[b] = left
			} else {
				delete(m.buckets, b)
			}
		}
	})
}

func (m *blockMap[V]) split(start, n uint64, do func(bucket uint64, from, to uint32, skipped uint64)) {
	for done := uint64(0); done < n; {
		b, from := (start+done)/bucketBlocks, (start+done)%bucketBlocks
		k := min(n-done, bucketBlocks-from)
		do(b, uint32(from), uint32(from+k), done)
		done += k
	}
}

// replace cuts [from, to) out of the spans and puts s there, joining it to its
// neighbours where the value continues.
func replace[V shiftable[V]](spans []span[V], from, to uint32, s *span[V]) []span[V] {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].end > from })
	j := i
	var put [3]span[V]
	k := 0
	if i < len(spans) && spans[i].start < from {
		put[k] = span[V]{spans[i].start, from, spans[i].v}
		k++
	}
	if s != nil {
		put[k] = *s
		k++
	}
	for ; j < len(spans) && spans[j].start < to; j++ {
		if e := spans[j]; e.end > to {
			put[k] = span[V]{to, e.end, e.v.shift(uint64(to - e.start))}
			k++
		}
	}
	if s != nil && k == 1 && i > 0 && i == j {
		if p := &spans[i-1]; p.end == from && p.v.shift(uint64(p.end-p.start)) == s.v {
			p.end = to
			return spans
		}
	}
	return slices.Replace(spans, i, j, put[:k]...)
}

// get returns the value of block b.
func (m *blockMap[V]) get(b uint64) (v V, ok bool) {
	spans := m.buckets[b/bucketBlocks]
	at := uint32(b % bucketBlocks)
	i := sort.Search(len(spans), func(i int) bool { return spans[i].end > at })
	if i == len(spans) || spans[i].start > at {
		return v, false
	}
	return spans[i].v.shift(uint64(at - spans[i].start)), true
}

// each visits [start, start+n) run by run, those without a value too.
func (m *blockMap[V]) each(start, n uint64, do func(start, n uint64, v V, ok bool)) {
	m.split(start, n, func(b uint64, from, to uint32, _ uint64) {
		spans, base := m.buckets[b], b*bucketBlocks
		i := sort.Search(len(spans), func(i int) bool { return spans[i].end > from })
		var none V
		for from < to {
			if i == len(spans) || spans[i].start >= to {
				do(base+uint64(from), uint64(to-from), none, false)
				return
			}
			s := spans[i]
			if s.start > from {
				do(base+uint64(from), uint64(s.start-from), none, false)
				from = s.start
			}
			end := min(s.end, to)
			do(base+uint64(from), uint64(end-from), s.v.shift(uint64(from-s.start)), true)
			from = end
			i++
		}
	})
}

// spanCount is how many runs are stored, for accounting and tests.
func (m *blockMap[V]) spanCount() int {
	n := 0
	for _, b := range m.buckets {
		n += len(b)
	}
	return n
}
