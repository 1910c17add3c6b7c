package fs

import (
	"cmp"
	"slices"
)

// JoinRanges sorts ranges and joins those that meet or overlap. It works in rs's
// own array.
func JoinRanges(rs []Range) []Range {
	slices.SortFunc(rs, func(a, b Range) int { return cmp.Compare(a.Off, b.Off) })
	out := rs[:0]
	for _, r := range rs {
		if k := len(out); k > 0 && r.Off <= out[k-1].Off+out[k-1].Len {
			out[k-1].Len = max(out[k-1].Len, r.Off+r.Len-out[k-1].Off)
			continue
		}
		out = append(out, r)
	}
	return out
}
