package paging

import "encoding/binary"

// Mapped visits the pages mapped in [from, to), ascending, as 4 KiB pages,
// until visit returns false. Tables that cannot be read are passed over; the
// first reason is returned.
func (s *Space) Mapped(from, to uint64, visit func(va, frame uint64) bool) error {
	w := &mappedWalk{s: s, from: from, to: to, visit: visit}
	w.table(s.root, s.levels, 0)
	return w.err
}

type mappedWalk struct {
	s        *Space
	from, to uint64
	visit    func(va, frame uint64) bool
	stopped  bool
	err      error
}

// table walks one table, which maps from base on.
func (w *mappedWalk) table(at uint64, level int, base uint64) {
	p, err := w.s.mem.Frame(at >> 12)
	if err != nil {
		if w.err == nil {
			w.err = &Fault{Address: base, Reason: NoFrame, Level: level, Err: err}
		}
		return
	}
	shift := 12 + 9*(level-1)
	size := uint64(1) << shift
	for i := uint64(0); i < 512 && !w.stopped; i++ {
		va := base + i*size
		if level == w.s.levels && i >= 256 { // the upper half is sign-extended
			va |= ^uint64(0) << (12 + 9*w.s.levels)
		}
		if va+(size-1) < w.from || va >= w.to {
			continue
		}
		v := binary.LittleEndian.Uint64(p[i*8:])
		if v&present == 0 {
			continue
		}
		frame, ok := w.s.mem.FromMachine(v & addrMask >> 12)
		switch {
		case !ok:
			if w.err == nil {
				w.err = &Fault{Address: va, Reason: NoMachine, Level: level, Entry: v}
			}
		case level == 1 || (level <= 3 && v&huge != 0):
			w.leaf(va, frame&^(size>>12-1), size)
		default:
			w.table(frame<<12, level-1, va)
		}
	}
}

func (w *mappedWalk) leaf(va, frame, size uint64) {
	for o := uint64(0); o < size && !w.stopped; o += 1 << 12 {
		if va+o >= w.from && va+o < w.to {
			w.stopped = !w.visit(va+o, frame+o>>12)
		}
	}
}
