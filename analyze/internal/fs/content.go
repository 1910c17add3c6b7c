package fs

import (
	"io"
	"sort"
)

// Mapped is Content made of extents on a device, for filesystems that store
// file bytes as they are.
type Mapped struct {
	dev     Device
	size    uint64
	extents []Extent
	inline  []byte
}

// NewMapped takes extents in any order; overlapping ones are cut so that the
// earlier by Logical keeps its bytes. Extents beyond size are kept but not read.
func NewMapped(dev Device, size uint64, extents []Extent) *Mapped {
	es := make([]Extent, 0, len(extents))
	es = append(es, extents...)
	sort.SliceStable(es, func(i, j int) bool { return es[i].Logical < es[j].Logical })
	out := es[:0]
	var end uint64
	for _, e := range es {
		if e.Length == 0 || e.Logical+e.Length < e.Logical {
			continue
		}
		if e.Logical < end {
			cut := end - e.Logical
			if cut >= e.Length {
				continue
			}
			e.Logical, e.Physical, e.Length = e.Logical+cut, e.Physical+cut, e.Length-cut
		}
		end = e.Logical + e.Length
		out = append(out, e)
	}
	return &Mapped{dev: dev, size: size, extents: out}
}

// NewInline is content stored in metadata; bytes beyond data up to size are zero.
func NewInline(size uint64, data []byte) *Mapped {
	if uint64(len(data)) > size {
		data = data[:size]
	}
	m := &Mapped{size: size, inline: data}
	if len(data) > 0 {
		m.extents = []Extent{{Length: uint64(len(data)), State: ExtentInline}}
	}
	return m
}

// Size is the file's length in bytes.
func (m *Mapped) Size() uint64 { return m.size }

// Extents lists the runs; do not modify.
func (m *Mapped) Extents() []Extent { return m.extents }

// ReadAt implements Content.
func (m *Mapped) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off) >= m.size {
		return 0, io.EOF
	}
	var eof error
	if uint64(len(p)) > m.size-uint64(off) {
		p = p[:m.size-uint64(off)]
		eof = io.EOF
	}
	clear(p)
	if m.inline != nil {
		if off < int64(len(m.inline)) {
			copy(p, m.inline[off:])
		}
		return len(p), eof
	}
	var unknown error
	lo, hi := uint64(off), uint64(off)+uint64(len(p))
	i := sort.Search(len(m.extents), func(i int) bool { e := m.extents[i]; return e.Logical+e.Length > lo })
	for ; i < len(m.extents) && m.extents[i].Logical < hi; i++ {
		e := m.extents[i]
		a, b := max(e.Logical, lo), min(e.Logical+e.Length, hi)
		switch e.State {
		case ExtentUnwritten:
			continue
		case ExtentUnknown:
			if unknown == nil {
				unknown = &UnknownError{Off: a, Len: b - a}
			}
			continue
		}
		if _, err := m.dev.ReadAt(p[a-lo:b-lo], int64(e.Physical+a-e.Logical)); err != nil {
			if !IsUnknown(err) && err != io.EOF {
				return 0, err
			}
			if unknown == nil {
				unknown = err
			}
		}
	}
	if unknown != nil {
		return len(p), unknown
	}
	return len(p), eof
}
