package btrfs

import (
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// content is the bytes of a file. It remembers the extent it uncompressed last.
type content struct {
	v    *Volume
	size uint64
	ext  []extent
	last int // index of the uncompressed extent in buf, -1 none
	buf  []byte
}

func newContent(v *Volume, size uint64, ext []extent) *content {
	ext = slices.Clone(ext)
	slices.SortStableFunc(ext, func(a, b extent) int {
		switch {
		case a.logical < b.logical:
			return -1
		case a.logical > b.logical:
			return 1
		}
		return 0
	})
	return &content{v: v, size: size, ext: ext, last: -1}
}

// Size implements fs.Content.
func (c *content) Size() uint64 { return c.size }

// Extents implements fs.Content.
func (c *content) Extents() []fs.Extent { return c.v.physical(c.ext) }

// ReadAt implements fs.Content.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off) >= c.size {
		return 0, io.EOF
	}
	var eof error
	if uint64(len(p)) > c.size-uint64(off) {
		p, eof = p[:c.size-uint64(off)], io.EOF
	}
	clear(p)
	lo, hi := uint64(off), uint64(off)+uint64(len(p))
	var unknown error
	k := sort.Search(len(c.ext), func(k int) bool { return c.ext[k].logical+c.ext[k].length > lo })
	for ; k < len(c.ext) && c.ext[k].logical < hi; k++ {
		e := c.ext[k]
		a, b := max(e.logical, lo), min(e.logical+e.length, hi)
		if a >= b {
			continue
		}
		if err := c.fill(p[a-lo:b-lo], k, a-e.logical); err != nil {
			if !fs.IsUnknown(err) {
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

// fill reads from extent k, at bytes into the part of the file it stands for.
func (c *content) fill(p []byte, k int, at uint64) error {
	e := c.ext[k]
	switch {
	case e.kind == kindInline && e.compress == compressNone:
		if at < uint64(len(e.inline)) {
			copy(p, e.inline[at:])
		}
		return nil
	case e.kind == kindPrealloc || e.disk == 0 && e.kind != kindInline:
		return nil
	case e.compress == compressNone:
		return c.v.readLogical(p, e.disk+e.skip+at)
	}
	if c.last != k {
		raw := e.inline
		if e.kind != kindInline {
			raw = make([]byte, e.diskLen)
			if err := c.v.readLogical(raw, e.disk); err != nil {
				return err
			}
		}
		buf, err := decompress(e.compress, raw, int(e.ram), int(c.v.sb.SectorSize))
		if err != nil {
			return fmt.Errorf("extent at %d: %w", e.logical, err)
		}
		c.last, c.buf = k, buf
	}
	if at += e.skip; at < uint64(len(c.buf)) {
		copy(p, c.buf[at:])
	}
	return nil
}

// readLogical reads file data at a logical address from the first copy that is
// whole.
func (v *Volume) readLogical(p []byte, addr uint64) error {
	at, err := v.chunks.copies(addr, uint64(len(p)))
	if err != nil {
		return err
	}
	var first error
	for _, off := range at {
		k, err := v.r.ReadAt(p, int64(off))
		if k == len(p) && (err == nil || err == io.EOF) {
			return nil
		}
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if first == nil {
			first = fmt.Errorf("logical address %d: %w", addr, err)
		}
	}
	return first
}
