package blockmap

import (
	"bytes"
	"cmp"
	"io"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// cachePage is what Linux's cache of a device writes back at once: PAGE_SIZE. A driver in
// user space has its files' clusters there, several to a page where they are smaller.
const cachePage = 4096

// Compare looks, before a write is applied, for what it only carries along: sectors that
// are as they were in a page of which others change. A write of which whole pages are as
// they were is somebody's. Where a cluster fills a page nothing is carried.
func (l *Ledger) Compare(dev io.ReaderAt, w *fs.Write, cluster uint64) {
	l.carried = l.carried[:0]
	if cluster >= cachePage || w.Op != fs.OpWrite {
		return
	}
	begun, changed := 0, false // where the ranges of this page begin
	page := w.Off / cachePage
	turn := func() {
		if !changed {
			l.carried = l.carried[:begun]
		}
		begun, changed = len(l.carried), false
	}
	fs.EachSector(dev, w, w.Off, func(off uint64, old, now []byte) {
		if p := off / cachePage; p != page {
			turn()
			page = p
		}
		if old != nil && bytes.Equal(old, now) {
			l.carried = append(l.carried, fs.Range{Off: off, Len: uint64(len(now))})
		} else {
			changed = true
		}
	})
	turn()
}

// written calls yield for the parts of [a, b) that are not only carried along.
func (l *Ledger) written(a, b uint64, yield func(off, n uint64)) {
	i, _ := slices.BinarySearchFunc(l.carried, a, func(r fs.Range, at uint64) int { return cmp.Compare(r.Off+r.Len-1, at) })
	for _, r := range l.carried[i:] {
		if r.Off >= b {
			break
		}
		if r.Off > a {
			yield(a, r.Off-a)
		}
		a = r.Off + r.Len
	}
	if a < b {
		yield(a, b-a)
	}
}
