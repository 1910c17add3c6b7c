// Package blockmap answers which file a disk block belongs to, while files come,
// go and move. Filesystems that keep no such index of their own build one here
// when they crawl and keep it up to date at every commit.
package blockmap

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	smallShift = 20 // extents are filed under every 1 MiB stretch they touch,
	largeShift = 30 // or under every 1 GiB stretch when they are long
	longExtent = 16 << smallShift

	// maxPerStretch bounds a lookup when many files claim the same blocks
	// (reflinks, or a filesystem made to hurt).
	maxPerStretch = 1 << 14
)

// Owner is one file's claim on a run of the volume, in bytes.
type Owner struct {
	ID       fs.ID
	Physical uint64
	Logical  uint64 // where the run starts in the file
	Length   uint64 // of the file
	Span     uint64 // of the volume; 0 = Length
	Whole    bool   // any write inside concerns all of it: compressed
}

// span is how many bytes of the volume are claimed.
func (o Owner) span() uint64 {
	if o.Span > 0 {
		return o.Span
	}
	return o.Length
}

// Map is an index from bytes of a volume to owners. The zero Map is ready.
type Map struct {
	small, large map[uint64][]Owner
	crowded      bool
}

// Crowded reports whether some claim was left out because too many files share
// one stretch of the disk.
func (m *Map) Crowded() bool { return m.crowded }

func stretches(o Owner) (large bool, from, to uint64) {
	last := o.Physical + o.span() - 1
	if o.span() >= longExtent {
		return true, o.Physical >> largeShift, last >> largeShift
	}
	return false, o.Physical >> smallShift, last >> smallShift
}

// Add files one claim. Claims that wrap around or are empty are ignored.
func (m *Map) Add(o Owner) {
	if o.span() == 0 || o.Physical+o.span() < o.Physical {
		return
	}
	if m.small == nil {
		m.small, m.large = map[uint64][]Owner{}, map[uint64][]Owner{}
	}
	large, from, to := stretches(o)
	in := m.small
	if large {
		in = m.large
	}
	for s := from; s <= to; s++ {
		if len(in[s]) >= maxPerStretch {
			m.crowded = true
			continue
		}
		in[s] = append(in[s], o)
	}
}

// Remove withdraws a claim made with Add.
func (m *Map) Remove(o Owner) {
	if o.span() == 0 || o.Physical+o.span() < o.Physical || m.small == nil {
		return
	}
	large, from, to := stretches(o)
	in := m.small
	if large {
		in = m.large
	}
	for s := from; s <= to; s++ {
		l := in[s]
		k := slices.Index(l, o)
		if k < 0 {
			continue
		}
		if len(l) == 1 {
			delete(in, s)
			continue
		}
		l[k] = l[len(l)-1]
		in[s] = l[:len(l)-1]
	}
}

// Find hands each claim that overlaps [off, off+n) to yield once, in no
// particular order. yield must not change the map.
func (m *Map) Find(off, n uint64, yield func(Owner)) {
	if n == 0 || off+n < off {
		return
	}
	find(m.small, smallShift, off, n, yield)
	find(m.large, largeShift, off, n, yield)
}

func find(in map[uint64][]Owner, shift uint, off, n uint64, yield func(Owner)) {
	if len(in) == 0 {
		return
	}
	first, last := off>>shift, (off+n-1)>>shift
	if last-first > uint64(len(in)) {
		// A discard of the whole disk: walk what there is.
		for s, l := range in {
			if s >= first && s <= last {
				scan(l, s, first, shift, off, n, yield)
			}
		}
		return
	}
	for s := first; s <= last; s++ {
		scan(in[s], s, first, shift, off, n, yield)
	}
}

// scan reports the claims of stretch s, those that reach in from an earlier
// stretch of the same search excepted: they were reported there.
func scan(l []Owner, s, first uint64, shift uint, off, n uint64, yield func(Owner)) {
	for _, o := range l {
		if o.Physical >= off+n || o.Physical+o.span() <= off {
			continue
		}
		if s != max(o.Physical>>shift, first) {
			continue
		}
		yield(o)
	}
}

// Overlap is the part of the file that a write of [off, off+n) to the volume
// concerns; the length is 0 when there is none.
func (o Owner) Overlap(off, n uint64) fs.Range {
	a, b := max(off, o.Physical), min(off+n, o.Physical+o.span())
	if a >= b {
		return fs.Range{}
	}
	if o.Whole {
		return fs.Range{Off: o.Logical, Len: o.Length}
	}
	return fs.Range{Off: o.Logical + a - o.Physical, Len: b - a}
}
