package fs

import (
	"io"
	"sort"
)

// Segment places a run of a volume on the disk beneath. All in bytes.
type Segment struct {
	Off  uint64 // in the volume
	Disk uint64 // on the disk
	Len  uint64
}

// Section is a volume: segments of a disk put together. Stretches of the volume
// that no segment covers (a physical volume on another disk) are unknown.
type Section struct {
	dev  Device
	segs []Segment // ascending by Off, disjoint
	size uint64
}

// NewSection takes segments in any order; a segment that overlaps an earlier
// one or lies beyond the device is dropped.
func NewSection(dev Device, size uint64, segs []Segment) *Section {
	ss := append([]Segment(nil), segs...)
	sort.SliceStable(ss, func(i, j int) bool { return ss[i].Off < ss[j].Off })
	out := ss[:0]
	var end uint64
	for _, s := range ss {
		if s.Len == 0 || s.Off < end || s.Off+s.Len < s.Off || s.Disk >= dev.Size() {
			continue
		}
		s.Len = min(s.Len, dev.Size()-s.Disk)
		out, end = append(out, s), s.Off+s.Len
	}
	return &Section{dev: dev, segs: out, size: size}
}

// Size is the length of the volume in bytes.
func (s *Section) Size() uint64 { return s.size }

// Segments lists the placement; do not modify.
func (s *Section) Segments() []Segment { return s.segs }

// each visits [off, off+n) piece by piece; placed is false where no segment is.
func (s *Section) each(off, n uint64, do func(at, disk, n uint64, placed bool) bool) {
	i := sort.Search(len(s.segs), func(i int) bool { return s.segs[i].Off+s.segs[i].Len > off })
	for n > 0 {
		if i == len(s.segs) {
			do(off, 0, n, false)
			return
		}
		g := s.segs[i]
		k := n
		if g.Off > off {
			k = min(n, g.Off-off)
			if !do(off, 0, k, false) {
				return
			}
		} else {
			k = min(n, g.Off+g.Len-off)
			if !do(off, g.Disk+off-g.Off, k, true) {
				return
			}
			i++
		}
		off, n = off+k, n-k
	}
}

// Place says where [off, off+n) of the volume lies on the disk, piece by piece.
func (s *Section) Place(off, n uint64, visit func(off, disk, n uint64)) {
	s.each(off, n, func(at, disk, n uint64, placed bool) bool {
		if placed {
			visit(at, disk, n)
		}
		return true
	})
}

// ReadAt implements Device.
func (s *Section) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off) >= s.size {
		return 0, io.EOF
	}
	var eof, unknown, failed error
	if uint64(len(p)) > s.size-uint64(off) {
		p, eof = p[:s.size-uint64(off)], io.EOF
	}
	s.each(uint64(off), uint64(len(p)), func(at, disk, n uint64, placed bool) bool {
		part := p[at-uint64(off) : at-uint64(off)+n]
		if !placed {
			clear(part)
			if unknown == nil {
				unknown = &UnknownError{Off: at, Len: n}
			}
			return true
		}
		_, err := s.dev.ReadAt(part, int64(disk))
		switch {
		case err == nil || err == io.EOF:
		case IsUnknown(err):
			if unknown == nil {
				unknown = &UnknownError{Off: at, Len: n}
			}
		default:
			failed = err
			return false
		}
		return true
	})
	switch {
	case failed != nil:
		return 0, failed
	case unknown != nil:
		return len(p), unknown
	}
	return len(p), eof
}

// Known reports whether every byte of the range is known.
func (s *Section) Known(off, n uint64) bool {
	if off+n < off || off+n > s.size {
		return false
	}
	known := true
	s.each(off, n, func(_, disk, n uint64, placed bool) bool {
		known = known && placed && s.dev.Known(disk, n)
		return known
	})
	return known
}

// Split cuts a write to the disk into the pieces that fall into the volume,
// ascending on the disk. Stamps and payload are shared.
func (s *Section) Split(w *Write) []Write {
	var out []Write
	end := w.Off + w.Len
	for _, g := range s.segs {
		lo, hi := max(g.Disk, w.Off), min(g.Disk+g.Len, end)
		if lo >= hi {
			continue
		}
		p := Write{Stamp: w.Stamp, Op: w.Op, Off: g.Off + lo - g.Disk, Len: hi - lo}
		if w.Op == OpWrite {
			p.Data = w.Data[lo-w.Off : hi-w.Off]
		}
		out = append(out, p)
	}
	return out
}
