package disk

import (
	"slices"

	"github.com/xentape/xentape/format"
)

// merge sorts extents and joins those that touch or overlap.
func merge(es []format.Extent) []format.Extent {
	slices.SortFunc(es, func(a, b format.Extent) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	var out []format.Extent
	for _, e := range es {
		if k := len(out); k > 0 && out[k-1].Start+out[k-1].Count >= e.Start {
			out[k-1].Count = max(out[k-1].Count, e.Start+e.Count-out[k-1].Start)
			continue
		}
		if e.Count > 0 {
			out = append(out, e)
		}
	}
	return out
}

// without returns the parts of e that no extent of holes covers; holes are merged.
func without(e format.Extent, holes []format.Extent) []format.Extent {
	var out []format.Extent
	at, end := e.Start, e.Start+e.Count
	for _, h := range holes {
		if h.Start+h.Count <= at {
			continue
		}
		if h.Start >= end {
			break
		}
		if h.Start > at {
			out = append(out, format.Extent{Start: at, Count: h.Start - at})
		}
		at = h.Start + h.Count
	}
	if at < end {
		out = append(out, format.Extent{Start: at, Count: end - at})
	}
	return out
}
