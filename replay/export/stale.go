package export

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xentape/xentape/format"
)

// stale is what of a disk may differ from what the tape has: the extents of gaps, as
// far as nothing has been written or read back there since. Runs are apart and in
// order.
type stale []format.Extent

// gap adds what the records missing in g may have changed.
func (s *stale) gap(g *format.Gap, size uint64) {
	extents := g.Extents
	if g.Count == format.Unknown && len(extents) == 0 {
		extents = []format.Extent{{Count: size}}
	}
	for _, e := range extents {
		e.Start = min(e.Start, size)
		if e.Count = min(e.Count, size-e.Start); e.Count > 0 {
			s.known(e.Start, e.Count)
			i, _ := slices.BinarySearchFunc(*s, e, func(a, b format.Extent) int { return cmp.Compare(a.Start, b.Start) })
			*s = slices.Insert(*s, i, e)
		}
	}
}

// known takes out [start, start+n).
func (s *stale) known(start, n uint64) {
	if n == 0 {
		return
	}
	end := start + n
	from, _ := slices.BinarySearchFunc(*s, start, func(e format.Extent, at uint64) int { return cmp.Compare(e.Start+e.Count, at+1) })
	var left []format.Extent
	to := from
	for ; to < len(*s) && (*s)[to].Start < end; to++ {
		e := (*s)[to]
		if e.Start < start {
			left = append(left, format.Extent{Start: e.Start, Count: start - e.Start})
		}
		if e.Start+e.Count > end {
			left = append(left, format.Extent{Start: end, Count: e.Start + e.Count - end})
		}
	}
	if to > from {
		*s = slices.Replace(*s, from, to, left...)
	}
}

// loss says how much there is.
func (s *stale) loss() []string {
	bytes := uint64(0)
	for _, e := range *s {
		bytes += e.Count
	}
	if bytes == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d bytes may be older than this: the tape has a gap there, and they were not read again after it", bytes)}
}
