package fs

import (
	"slices"
	"sort"
)

// runState is what a run of a disk that is not stored page by page reads as.
type runState uint8

const (
	runZero runState = iota + 1
	runUnknown
)

type run struct {
	start, end uint64
	state      runState
}

// runSet is a sorted list of disjoint runs, so that discarding a whole disk
// costs one entry and not one per page.
type runSet struct{ runs []run }

// at returns the state at x and the end of the stretch over which it holds.
// State 0 means that no run covers x.
func (s *runSet) at(x uint64) (runState, uint64) {
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].end > x })
	if i == len(s.runs) {
		return 0, ^uint64(0)
	}
	if r := s.runs[i]; r.start <= x {
		return r.state, r.end
	}
	return 0, s.runs[i].start
}

// set gives [start, end) the state st, whatever it had.
func (s *runSet) set(start, end uint64, st runState) {
	if start >= end {
		return
	}
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].end >= start })
	j := i
	var before, after []run
	for ; j < len(s.runs) && s.runs[j].start <= end; j++ {
		r := s.runs[j]
		if r.state == st {
			start, end = min(start, r.start), max(end, r.end)
			continue
		}
		if r.start < start {
			before = append(before, run{r.start, start, r.state})
		}
		if r.end > end {
			after = append(after, run{end, r.end, r.state})
		}
	}
	put := append(append(before, run{start, end, st}), after...)
	s.runs = slices.Replace(s.runs, i, j, put...)
}
