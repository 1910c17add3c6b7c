package format

import (
	"cmp"
	"slices"
)

// JoinExtents sorts extents and joins those that meet or overlap; empty ones go.
// es is left sorted.
func JoinExtents(es []Extent) []Extent {
	slices.SortFunc(es, func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	var out []Extent
	for _, e := range es {
		if e.Count == 0 {
			continue
		}
		if k := len(out); k > 0 && e.Start <= out[k-1].Start+out[k-1].Count {
			out[k-1].Count = max(out[k-1].Count, e.Start+e.Count-out[k-1].Start)
			continue
		}
		out = append(out, e)
	}
	return out
}

// AppendExtent adds e behind ascending extents, to the last of them where they meet.
func AppendExtent(es []Extent, e Extent) []Extent {
	if k := len(es); k > 0 && es[k-1].Start+es[k-1].Count == e.Start {
		es[k-1].Count += e.Count
		return es
	}
	return append(es, e)
}

// Without is the parts of e that none of holes covers, which are ascending and
// do not overlap.
func (e Extent) Without(holes []Extent) []Extent {
	var out []Extent
	at, end := e.Start, e.Start+e.Count
	for _, h := range holes {
		if h.Start+h.Count <= at {
			continue
		}
		if h.Start >= end {
			break
		}
		if h.Start > at {
			out = append(out, Extent{Start: at, Count: h.Start - at})
		}
		at = h.Start + h.Count
	}
	if at < end {
		out = append(out, Extent{Start: at, Count: end - at})
	}
	return out
}
