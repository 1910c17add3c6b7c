package fs

import (
	"io"
	"maps"
	"slices"
)

// Layer is a device with some of its blocks replaced: committed metadata that
// the journal holds and the filesystem has not yet written to its place. It
// stays as small as the journal, because a block leaves it when the in-place
// write arrives.
type Layer struct {
	dev    Device
	bs     uint64
	blocks map[uint64][]byte
	hidden map[uint64]bool
}

// NewLayer covers dev in blocks of bs bytes.
func NewLayer(dev Device, bs uint64) *Layer {
	return &Layer{dev: dev, bs: bs, blocks: map[uint64][]byte{}, hidden: map[uint64]bool{}}
}

// Size is the length of the device in bytes.
func (l *Layer) Size() uint64 { return l.dev.Size() }

// Put replaces block n by data, bs bytes, which it keeps.
func (l *Layer) Put(n uint64, data []byte) {
	delete(l.hidden, n)
	l.blocks[n] = data
}

// Hide makes block n read as never captured.
func (l *Layer) Hide(n uint64) {
	delete(l.blocks, n)
	l.hidden[n] = true
}

// Has reports whether block n is replaced or hidden.
func (l *Layer) Has(n uint64) bool { return l.blocks[n] != nil || l.hidden[n] }

// Get returns the replacement of block n, nil when there is none.
func (l *Layer) Get(n uint64) []byte { return l.blocks[n] }

// Drop lets the device's own block n show again.
func (l *Layer) Drop(n uint64) {
	delete(l.blocks, n)
	delete(l.hidden, n)
}

// Each visits the replaced blocks, ascending, by their offset in bytes.
func (l *Layer) Each(visit func(off uint64, data []byte)) {
	for _, n := range slices.Sorted(maps.Keys(l.blocks)) {
		visit(n*l.bs, l.blocks[n])
	}
}

func (l *Layer) empty() bool { return len(l.blocks) == 0 && len(l.hidden) == 0 }

// Len is how many blocks are replaced.
func (l *Layer) Len() int { return len(l.blocks) }

// Known reports whether every byte of the range is known.
func (l *Layer) Known(off, n uint64) bool {
	if l.empty() || n == 0 {
		return l.dev.Known(off, n)
	}
	for n > 0 {
		b, in := off/l.bs, off%l.bs
		k := min(n, l.bs-in)
		if l.hidden[b] || l.blocks[b] == nil && !l.dev.Known(off, k) {
			return false
		}
		off, n = off+k, n-k
	}
	return true
}

// ReadAt implements Device.
func (l *Layer) ReadAt(p []byte, off int64) (int, error) {
	if l.empty() {
		return l.dev.ReadAt(p, off)
	}
	if off < 0 || uint64(off) >= l.Size() {
		return 0, io.EOF
	}
	var eof, unknown error
	if uint64(len(p)) > l.Size()-uint64(off) {
		p, eof = p[:l.Size()-uint64(off)], io.EOF
	}
	for done := 0; done < len(p); {
		at := uint64(off) + uint64(done)
		n, replaced := l.run(at, len(p)-done)
		if replaced != nil {
			copy(p[done:done+n], replaced)
		} else if l.hidden[at/l.bs] {
			clear(p[done : done+n])
			if unknown == nil {
				unknown = &UnknownError{Off: at, Len: uint64(n)}
			}
		} else if _, err := l.dev.ReadAt(p[done:done+n], int64(at)); err != nil && err != io.EOF {
			if !IsUnknown(err) {
				return done, err
			}
			if unknown == nil {
				unknown = err
			}
		}
		done += n
	}
	if unknown != nil {
		return len(p), unknown
	}
	return len(p), eof
}

// run is the longest stretch from at, no longer than limit, that comes from one
// place: one replaced block, or the device.
func (l *Layer) run(at uint64, limit int) (int, []byte) {
	in := at % l.bs
	n := min(uint64(limit), l.bs-in)
	if b := l.blocks[at/l.bs]; b != nil {
		return int(n), b[in : in+n]
	}
	if l.hidden[at/l.bs] {
		return int(n), nil
	}
	for n < uint64(limit) && !l.Has((at+n)/l.bs) {
		n = min(uint64(limit), n+l.bs)
	}
	return int(n), nil
}
