package format

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// pageRun states Count consecutive pages alike. For PageData their contents are
// consecutive slots of one pack.
type pageRun struct {
	start, count uint64
	state        PageState
	pack, slot   uint32
}

func (r *pageRun) end() uint64 { return r.start + r.count }

// from returns the part of the run that begins at page n, which lies in it.
func (r pageRun) from(n uint64) pageRun {
	if r.state == PageData {
		r.slot += uint32(n - r.start)
	}
	r.count -= n - r.start
	r.start = n
	return r
}

// upTo returns the part of the run before page n.
func (r pageRun) upTo(n uint64) pageRun {
	r.count = n - r.start
	return r
}

// continues reports whether b states the pages after a in the same way.
func (r *pageRun) continues(b *pageRun) bool {
	if r.end() != b.start || r.state != b.state {
		return false
	}
	return r.state != PageData || (r.pack == b.pack && uint64(r.slot)+r.count == uint64(b.slot))
}

// pageMap is runs, ascending and disjoint.
type pageMap []pageRun

// push appends a run that lies after all others, merging where it continues.
func (m *pageMap) push(r pageRun) {
	if r.count == 0 {
		return
	}
	if k := len(*m); k > 0 && (*m)[k-1].continues(&r) {
		(*m)[k-1].count += r.count
		return
	}
	*m = append(*m, r)
}

// find returns the run that holds page n.
func (m pageMap) find(n uint64) (pageRun, bool) {
	near := 0
	return m.findFrom(&near, n)
}

// findFrom is find for a caller who asks in ascending order: it looks first at
// the run found before and at the next.
func (m pageMap) findFrom(near *int, n uint64) (pageRun, bool) {
	for i := *near; i < min(*near+2, len(m)); i++ {
		if m[i].start <= n && n < m[i].end() {
			*near = i
			return m[i], true
		}
	}
	i := sort.Search(len(m), func(i int) bool { return m[i].end() > n })
	*near = i
	if i == len(m) || m[i].start > n {
		return pageRun{}, false
	}
	return m[i], true
}

// overlay lays top over base.
func overlay(base, top pageMap) pageMap {
	if len(top) == 0 {
		return base
	}
	if len(base) == 0 {
		return top
	}
	out := make(pageMap, 0, len(base)+len(top))
	i := 0
	var rest pageRun // what is left of base[i-1]
	next := func() bool {
		if rest.count > 0 {
			return true
		}
		if i == len(base) {
			return false
		}
		rest = base[i]
		i++
		return true
	}
	for _, t := range top {
		for next() && rest.end() <= t.start {
			out.push(rest)
			rest.count = 0
		}
		if rest.count > 0 && rest.start < t.start {
			out.push(rest.upTo(t.start))
			rest = rest.from(t.start)
		}
		out.push(t)
		for next() && rest.end() <= t.end() {
			rest.count = 0
		}
		if rest.count > 0 && rest.start < t.end() {
			rest = rest.from(t.end())
		}
	}
	for next() {
		out.push(rest)
		rest.count = 0
	}
	return out
}

// resolve turns statements in the order they were made into a map: of two that
// state a page, the later wins.
func resolve(statements []pageRun) pageMap {
	ascending := true
	for i := 1; i < len(statements) && ascending; i++ {
		ascending = statements[i-1].end() <= statements[i].start
	}
	if ascending {
		out := make(pageMap, 0, len(statements))
		for _, r := range statements {
			out.push(r)
		}
		return out
	}
	k := len(statements) / 2
	return overlay(resolve(statements[:k]), resolve(statements[k:]))
}

// clip keeps the parts of m inside [lo, hi).
func (m pageMap) clip(lo, hi uint64) pageMap {
	var out pageMap
	for _, r := range m {
		if r.end() <= lo || r.start >= hi {
			continue
		}
		if r.start < lo {
			r = r.from(lo)
		}
		if r.end() > hi {
			r = r.upTo(hi)
		}
		out.push(r)
	}
	return out
}

// appendRuns encodes runs: each start relative to the end before it, so that a
// table in order is mostly zeros and ones.
func appendRuns(b []byte, runs []pageRun) []byte {
	b = binary.AppendUvarint(b, uint64(len(runs)))
	var at uint64
	for _, r := range runs {
		b = appendZigzag(b, int64(r.start-at))
		b = binary.AppendUvarint(b, r.count)
		b = append(b, byte(r.state))
		if r.state == PageData {
			b = binary.AppendUvarint(b, uint64(r.pack))
			b = binary.AppendUvarint(b, uint64(r.slot))
		}
		at = r.end()
	}
	return b
}

const maxSlots = MaxChunk / PageSize

// runs decodes what appendRuns encoded. Every run lies below limit, and its
// slots in a pack.
func (d *decoder) runs(limit uint64) []pageRun {
	runs := make([]pageRun, d.count("runs", 3, runsPerChunk))
	var at uint64
	for i := range runs {
		r := &runs[i]
		r.start = at + uint64(d.zigzag("run start"))
		r.count = d.uint("run count")
		r.state = PageState(d.uint8("page state"))
		if r.state == PageData {
			r.pack = d.uint32("pack")
			r.slot = uint32(d.uintMax("slot", maxSlots))
			if d.err == nil && r.count > maxSlots-uint64(r.slot) {
				d.fail("run count", fmt.Errorf("%d slots from %d: more than a pack has", r.count, r.slot))
			}
		}
		if d.err == nil && (r.count == 0 || r.start >= limit || r.count > limit-r.start) {
			d.fail("run", fmt.Errorf("%d pages from %d: not within %d", r.count, r.start, limit))
		}
		if d.err == nil && r.state > PageDevice {
			d.fail("page state", fmt.Errorf("%d: unknown", r.state))
		}
		at = r.end()
	}
	return runs
}

// extentSet is a set of pages as ascending disjoint extents.
type extentSet []Extent

// add adds [start, start+count) and returns how many of the pages were in the
// set already.
func (s *extentSet) add(start, count uint64) uint64 {
	end := start + count
	i, _ := slices.BinarySearchFunc(*s, start, func(e Extent, n uint64) int { return cmp.Compare(e.Start+e.Count, n) })
	j, again := i, uint64(0)
	lo, hi := start, end
	for ; j < len(*s) && (*s)[j].Start <= end; j++ {
		e := (*s)[j]
		if a, b := max(e.Start, start), min(e.Start+e.Count, end); b > a {
			again += b - a
		}
		lo, hi = min(lo, e.Start), max(hi, e.Start+e.Count)
	}
	*s = slices.Replace(*s, i, j, Extent{lo, hi - lo})
	return again
}

// overlaps reports whether any of the pages is in the set.
func (s extentSet) overlaps(start, count uint64) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Start+s[i].Count > start })
	return i < len(s) && s[i].Start < start+count
}

var errSlots = errors.New("slot table does not fit the chunk")

// difference lists the pages that two maps do not state alike.
func difference(a, b pageMap) []Extent {
	var out []Extent
	add := func(start, end uint64) {
		out = AppendExtent(out, Extent{start, end - start})
	}
	var x, y pageRun // what is left of the run in hand; count 0: none
	for {
		if x.count == 0 && len(a) > 0 {
			x, a = a[0], a[1:]
		}
		if y.count == 0 && len(b) > 0 {
			y, b = b[0], b[1:]
		}
		switch {
		case x.count == 0 && y.count == 0:
			return out
		case y.count == 0 || (x.count != 0 && x.end() <= y.start):
			add(x.start, x.end())
			x.count = 0
		case x.count == 0 || y.end() <= x.start:
			add(y.start, y.end())
			y.count = 0
		case x.start < y.start:
			add(x.start, y.start)
			x = x.from(y.start)
		case y.start < x.start:
			add(y.start, x.start)
			y = y.from(x.start)
		default:
			end := min(x.end(), y.end())
			if x.state != y.state || (x.state == PageData && (x.pack != y.pack || x.slot != y.slot)) {
				add(x.start, end)
			}
			x, y = x.from(end), y.from(end)
		}
	}
}
