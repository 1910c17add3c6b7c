package story

import "github.com/xentape/xentape/analyze/process"

// At is the item's time, or the lower bound of its interval, in ns since 1970
// UTC; 0 when it is not known.
func (it *Item) At() int64 { return it.at }

// Upper is the upper bound of the item's interval, or At.
func (it *Item) Upper() int64 { return max(it.upper, it.at) }

// About lists what the item is about by position in the input: file events and
// connections.
func (it *Item) About() (files, conns []int) { return it.files, it.conns }

// ProcessIndex is the position of the item's process among Input.Processes, or -1.
func (s *Story) ProcessIndex(it *Item) int { return s.index(it.proc) }

// OwnerIndex is the position of an owner among Input.Processes, or -1.
func (s *Story) OwnerIndex(o *Owner) int {
	if o == nil {
		return -1
	}
	return s.index(o.key)
}

func (s *Story) index(id identity) int {
	if i, ok := s.position[id]; ok {
		return i
	}
	return -1
}

// positions numbers the processes of the input.
func positions(ps []process.Process) map[identity]int {
	m := make(map[identity]int, len(ps))
	for i := range ps {
		m[identify(&ps[i])] = i
	}
	return m
}
