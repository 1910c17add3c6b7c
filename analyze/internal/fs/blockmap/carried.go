package blockmap

import (
	"bytes"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// cachePage is what Linux's cache of a device writes back at once: PAGE_SIZE. A driver in
// user space has its files' clusters there, several to a page where they are smaller.
const cachePage = 4096

// sector is the least that can be written.
const sector = 512

// Compare looks, before a write is applied, for what it only carries along: sectors that
// are as they were in a page of which others change. A write of which whole pages are as
// they were is somebody's. Where a cluster fills a page nothing is carried.
func (l *Ledger) Compare(dev io.ReaderAt, w *fs.Write, cluster uint64) {
	l.carried = l.carried[:0]
	if cluster >= cachePage || w.Op != fs.OpWrite {
		return
	}
	var old [cachePage]byte
	for at, end := w.Off, w.Off+w.Len; at < end; {
		next := min(at-at%cachePage+cachePage, end)
		known, _ := dev.ReadAt(old[:next-at], int64(at))
		before, changed := len(l.carried), false
		for p := at; p < next; p += sector {
			q := min(p+sector, next)
			if q-at > uint64(known) || !bytes.Equal(old[p-at:q-at], w.Data[p-w.Off:q-w.Off]) {
				changed = true
			} else {
				l.carry(fs.Range{Off: p, Len: q - p})
			}
		}
		if !changed {
			l.drop(before, at)
		}
		at = next
	}
}

func (l *Ledger) carry(r fs.Range) {
	if n := len(l.carried); n > 0 && l.carried[n-1].Off+l.carried[n-1].Len == r.Off {
		l.carried[n-1].Len += r.Len
		return
	}
	l.carried = append(l.carried, r)
}

// drop takes away what was noted from at on, when there were n ranges before.
func (l *Ledger) drop(n int, at uint64) {
	l.carried = l.carried[:min(n+1, len(l.carried))]
	if k := len(l.carried); k > 0 {
		last := &l.carried[k-1]
		if last.Off >= at {
			l.carried = l.carried[:k-1]
		} else {
			last.Len = min(last.Len, at-last.Off)
		}
	}
}

// written calls yield for the parts of [a, b) that are not only carried along.
func (l *Ledger) written(a, b uint64, yield func(off, n uint64)) {
	for _, r := range l.carried {
		if r.Off+r.Len <= a {
			continue
		}
		if r.Off >= b {
			break
		}
		if r.Off > a {
			yield(a, r.Off-a)
		}
		a = min(b, r.Off+r.Len)
	}
	if a < b {
		yield(a, b-a)
	}
}
