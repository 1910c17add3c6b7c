package files

import (
	"cmp"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// match is a name that came and one of the same file that went, perhaps a rename.
type match struct {
	added int
	gone  *gone
	rank  int
}

// maxMatches bounds how many pairs of names of one file are weighed: one with more is
// paired in the order of its names. Which replaced which is a guess of so many anyway.
const maxMatches = 1 << 16

// pairs gives each name that came the one it replaced, nil where there was none. A file
// that lost and gained several in one transaction had some of them linked and unlinked.
func (c *classifier) pairs(added []fs.Dirent, by map[fs.ID][]*gone) []*gone {
	came, nth := map[fs.ID]int{}, map[fs.ID]int{}
	for _, d := range added {
		came[d.Child]++
	}
	var all []match
	for i, d := range added {
		if fresh(c.inodes[d.Child]) {
			continue
		}
		was := d.Child
		if change := c.inodes[d.Child]; change != nil && change.Was != (fs.ID{}) {
			was = change.Was // numbered by its place, and moved
		}
		candidates := by[was]
		if k := nth[d.Child]; len(candidates)*came[d.Child] > maxMatches {
			candidates = candidates[min(k, len(candidates)):min(k+1, len(candidates))]
		}
		nth[d.Child]++
		for _, r := range candidates {
			r.several = r.several || len(by[was]) > 1 || came[d.Child] > 1
			all = append(all, match{i, r, c.rank(d, r)})
		}
	}
	slices.SortStableFunc(all, func(a, b match) int { return cmp.Compare(a.rank, b.rank) })
	out, taken := make([]*gone, len(added)), map[*gone]bool{}
	for _, m := range all {
		if out[m.added] == nil && !taken[m.gone] {
			out[m.added], taken[m.gone] = m.gone, true
		}
	}
	return out
}

// rank says how well two names go together, the best first: a rename dates both of its
// directories alike, a link and an unlink each their own.
func (c *classifier) rank(d fs.Dirent, r *gone) int {
	if d.Parent == r.Parent {
		return 1
	}
	to, from := c.attr(d.Parent, fs.TypeDir), c.attr(r.Parent, fs.TypeDir)
	if to.MTime != fs.NoTime && to.MTime == from.MTime {
		return 0
	}
	return 2
}
