package btrfs

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// note keeps the new extents of a file that nothing dated: a balance moves what block
// groups hold and a defragmentation writes it anew, both without a change of the inode's
// times (relocate_block_group, fs/btrfs/relocation.c; btrfs_defrag_file,
// fs/btrfs/defrag.c). So do writes whose times were committed before their bytes.
func (b *btrfs) note(c delta.Change) {
	o, n := &c.Old.Attr, &c.New.Attr
	if !o.Live || !n.Live || o.Generation != n.Generation || o.Size != n.Size || o.MTime != n.MTime || o.CTime != n.CTime {
		return
	}
	var out []fs.Extent
	for _, e := range c.New.Extents {
		if !slices.Contains(c.Old.Extents, e) {
			out = append(out, e)
		}
	}
	if len(out) > 0 {
		b.elsewhere[c.ID] = out
	}
}

// relocated marks the content that only lies elsewhere than in the old volume, whose
// blocks stay until the next superblock. What a balance put there is left out: it keeps
// the generation that wrote it (replace_file_extents, fs/btrfs/relocation.c), and may be
// of a file whose next write is announced and yet to come.
func (b *btrfs) relocated(old *Volume, tx *fs.Tx) {
	tx.Data = slices.DeleteFunc(tx.Data, func(d fs.DataChange) bool {
		es := b.elsewhere[d.ID]
		return es != nil && within(es, d.Ranges) && b.balanced(old, &d)
	})
	for i := range tx.Data {
		d := &tx.Data[i]
		if es := b.elsewhere[d.ID]; es != nil {
			d.Same = within(es, d.Ranges) && b.equal(old, d)
		}
	}
	clear(b.elsewhere)
}

// balanced reports whether all that the ranges show was written before.
func (b *btrfs) balanced(old *Volume, d *fs.DataChange) bool {
	i, err := b.vol.stat(d.ID)
	if err != nil {
		return false
	}
	for _, r := range d.Ranges {
		for _, e := range i.extents {
			if e.logical < r.Off+r.Len && r.Off < e.logical+e.length && e.disk != 0 && e.born > old.sb.Generation {
				return false
			}
		}
	}
	return true
}

// within reports whether the extents hold all of the ranges.
func within(es []fs.Extent, rs []fs.Range) bool {
	for _, r := range rs {
		at := r.Off
		for _, e := range es {
			if e.Logical <= at && at < e.Logical+e.Length {
				at = e.Logical + e.Length
			}
		}
		if at < r.Off+r.Len {
			return false
		}
	}
	return true
}

// equal compares the ranges of a file in both volumes.
func (b *btrfs) equal(old *Volume, d *fs.DataChange) bool {
	now, err := b.Content(d.ID)
	if err != nil {
		return false
	}
	var was fs.Content
	b.under(old, func() { was, err = b.Content(d.ID) })
	if err != nil {
		return false
	}
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for _, r := range d.Ranges {
		for off, end := r.Off, min(r.Off+r.Len, now.Size()); off < end; {
			n := min(uint64(len(x)), end-off)
			if _, err := was.ReadAt(x[:n], int64(off)); err != nil && !errors.Is(err, io.EOF) {
				return false
			}
			if _, err := now.ReadAt(y[:n], int64(off)); err != nil && !errors.Is(err, io.EOF) {
				return false
			}
			if !bytes.Equal(x[:n], y[:n]) {
				return false
			}
			off += n
		}
	}
	return true
}
