package fat

import (
	"fmt"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Volume reads one FAT or exFAT volume.
type Volume struct {
	r    io.ReaderAt
	boot *Boot
}

// OpenVolume reads the boot sector.
func OpenVolume(r io.ReaderAt) (*Volume, error) {
	b := make([]byte, bootSize)
	if n, err := r.ReadAt(b, 0); n < len(b) || err != nil && err != io.EOF {
		if err == nil || err == io.EOF {
			return nil, ErrNotFAT
		}
		return nil, fmt.Errorf("fat boot sector: %w", err)
	}
	boot, err := ParseBoot(b)
	if err != nil {
		return nil, err
	}
	return &Volume{r: r, boot: boot}, nil
}

// table reads entries of the allocation table through a window, so that
// following a chain does not read the disk for each link.
type table struct {
	v   *Volume
	at  uint64 // offset in the table of the window
	buf []byte
}

const tableWindow = 4096

// bytes returns n bytes of the table from off.
func (t *table) bytes(off uint64, n int) ([]byte, error) {
	if off+uint64(n) > t.v.boot.TableLen {
		return nil, fmt.Errorf("table offset %d: %w", off, fs.ErrCorrupt)
	}
	if t.buf == nil || off < t.at || off+uint64(n) > t.at+uint64(len(t.buf)) {
		at := off / tableWindow * tableWindow
		size := min(tableWindow+8, t.v.boot.TableLen-at) // a 12-bit entry may cross
		buf := make([]byte, size)
		if k, err := t.v.r.ReadAt(buf, int64(t.v.boot.Table+at)); err != nil && (err != io.EOF || k < len(buf)) {
			return nil, fmt.Errorf("table offset %d: %w", at, err)
		}
		t.at, t.buf = at, buf
	}
	return t.buf[off-t.at : off-t.at+uint64(n)], nil
}

// next is the table's entry for cluster c.
func (t *table) next(c uint64) (uint64, error) {
	switch t.v.boot.kind {
	case fat12:
		b, err := t.bytes(c*3/2, 2)
		if err != nil {
			return 0, err
		}
		return uint64(le.Uint16(b)>>(4*(c&1))) & 0xfff, nil
	case fat16:
		b, err := t.bytes(c*2, 2)
		if err != nil {
			return 0, err
		}
		return uint64(le.Uint16(b)), nil
	}
	b, err := t.bytes(c*4, 4)
	if err != nil {
		return 0, err
	}
	n := uint64(le.Uint32(b))
	if t.v.boot.kind == fat32 {
		n &= 0x0fffffff
	}
	return n, nil
}

// end reports whether a table entry ends a chain.
func (o *Boot) end(n uint64) bool {
	switch o.kind {
	case fat12:
		return n >= 0xff8
	case fat16:
		return n >= 0xfff8
	case fat32:
		return n >= 0x0ffffff8
	}
	return n == 0xffffffff
}

// extents maps the first limit bytes of what starts at cluster first. A chain
// that breaks off gives an extent of unknown content for the rest. inRow: the
// clusters follow one another and the table does not say so (exFAT).
func (v *Volume) extents(first, limit uint64, inRow bool) ([]fs.Extent, error) {
	o := v.boot
	if limit == 0 {
		return nil, nil
	}
	want := (limit + o.Cluster - 1) / o.Cluster
	broken := func(out []fs.Extent, done uint64, what string, c uint64) ([]fs.Extent, error) {
		out = append(out, fs.Extent{Logical: done * o.Cluster, Length: (want - done) * o.Cluster, State: fs.ExtentUnknown})
		return out, fmt.Errorf("cluster chain: %s %d after %d of %d clusters: %w", what, c, done, want, fs.ErrCorrupt)
	}
	if want > o.Clusters {
		return broken(nil, 0, "more clusters than there are from", first)
	}
	if !o.valid(first) {
		return broken(nil, 0, "starts at", first)
	}
	if inRow {
		if first+want > o.Clusters+2 {
			return broken(nil, 0, "runs beyond the volume from", first)
		}
		return []fs.Extent{{Physical: o.offset(first), Length: want * o.Cluster}}, nil
	}
	var out []fs.Extent
	t := &table{v: v}
	c := first
	for done := uint64(0); ; {
		if k := len(out); k > 0 && out[k-1].Physical+out[k-1].Length == o.offset(c) {
			out[k-1].Length += o.Cluster
		} else {
			out = append(out, fs.Extent{Logical: done * o.Cluster, Physical: o.offset(c), Length: o.Cluster})
		}
		if done++; done == want {
			return out, nil
		}
		n, err := t.next(c)
		if err != nil {
			out, _ = broken(out, done, "", c)
			return out, err
		}
		if !o.valid(n) {
			return broken(out, done, "goes on at", n)
		}
		c = n
	}
}

// dirExtents maps a directory, whose length on FAT is that of its chain.
func (v *Volume) dirExtents(first uint64) ([]fs.Extent, error) {
	o := v.boot
	const most = 256 << 20 // exFAT's limit; FAT's is 2 MiB
	var out []fs.Extent
	t := &table{v: v}
	for c, done := first, uint64(0); ; done++ {
		if !o.valid(c) {
			return out, fmt.Errorf("directory: cluster %d: %w", c, fs.ErrCorrupt)
		}
		if done*o.Cluster >= most || done > o.Clusters {
			return out, fmt.Errorf("directory: its chain does not end: %w", fs.ErrCorrupt)
		}
		if k := len(out); k > 0 && out[k-1].Physical+out[k-1].Length == o.offset(c) {
			out[k-1].Length += o.Cluster
		} else {
			out = append(out, fs.Extent{Logical: done * o.Cluster, Physical: o.offset(c), Length: o.Cluster})
		}
		n, err := t.next(c)
		if err != nil {
			return out, err
		}
		if o.end(n) {
			return out, nil
		}
		c = n
	}
}
