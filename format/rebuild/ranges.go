package rebuild

import (
	"slices"
	"sort"

	"github.com/xentape/xentape/format"
)

// ranges is a set of parts of a disk: for each GiB of it, disjoint ranges in ascending
// order, so that a change touches few.
type ranges map[uint64][]format.Extent

const rangesUnit = 1 << 30

// maxDisk bounds the disks of which parts are kept, bytes.
const maxDisk = 1 << 48

func (r ranges) add(off, n uint64)    { r.change(off, n, true) }
func (r ranges) remove(off, n uint64) { r.change(off, n, false) }

func (r ranges) change(off, n uint64, in bool) {
	for n > 0 {
		unit := off / rangesUnit
		k := min(n, rangesUnit-off%rangesUnit)
		if list := replace(r[unit], off, off+k, in); len(list) > 0 {
			r[unit] = list
		} else {
			delete(r, unit)
		}
		off, n = off+k, n-k
	}
}

// replace takes from to to out of a list, or puts it in as one range.
func replace(list []format.Extent, from, to uint64, in bool) []format.Extent {
	end := func(i int) uint64 { return list[i].Start + list[i].Count }
	first := sort.Search(len(list), func(i int) bool { return end(i) > from })
	after := first
	var kept []format.Extent
	if first < len(list) && list[first].Start < from {
		kept = append(kept, format.Extent{Start: list[first].Start, Count: from - list[first].Start})
	}
	if in {
		kept = append(kept, format.Extent{Start: from, Count: to - from})
	}
	for ; after < len(list) && list[after].Start < to; after++ {
		if end(after) > to {
			kept = append(kept, format.Extent{Start: to, Count: end(after) - to})
		}
	}
	return slices.Replace(list, first, after, kept...)
}

// bytes is how much is in the set.
func (r ranges) bytes() (n uint64) {
	for _, list := range r {
		for _, e := range list {
			n += e.Count
		}
	}
	return n
}
