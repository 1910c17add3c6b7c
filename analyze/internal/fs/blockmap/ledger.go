package blockmap

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Ledger files written data under the files it belongs to: at once when the
// block has an owner, else when a commit says whose it is.
type Ledger struct {
	// Stored is how much of the volume a compressed extent is sure to take, in
	// bytes; 0 = as much as its length.
	Stored  uint64
	owners  Map
	pending Pending
	claimed []fs.Range
	carried []fs.Range // of the write that is about to be applied; see Compare
}

// Owners calls yield for each claim on [off, off+n).
func (l *Ledger) Owners(off, n uint64, yield func(Owner)) { l.owners.Find(off, n, yield) }

// Add files the extents of a file found in a crawl.
func (l *Ledger) Add(id fs.ID, es []fs.Extent) {
	for _, e := range es {
		if o, ok := l.claim(id, e); ok {
			l.owners.Add(o)
		}
	}
}

// claim is an extent as a claim; what has no place on the volume has none. Of a
// compressed extent any write changes the whole.
func (l *Ledger) claim(id fs.ID, e fs.Extent) (Owner, bool) {
	o := Owner{ID: id, Physical: e.Physical, Logical: e.Logical, Length: e.Length, Whole: e.State == fs.ExtentCompressed}
	if o.Whole {
		o.Span = l.Stored
	}
	return o, e.State != fs.ExtentInline && e.State != fs.ExtentUnknown
}

// Write takes [off, off+n) of a write or discard: wrote is called for each file
// it belongs to, for what is not only carried along, and what belongs to none is
// remembered.
func (l *Ledger) Write(off, n uint64, w *fs.Write, wrote func(id fs.ID, r fs.Range)) {
	var owned []fs.Range
	l.owners.Find(off, n, func(o Owner) {
		a, b := max(off, o.Physical), min(off+n, o.Physical+o.span())
		owned = append(owned, fs.Range{Off: a, Len: b - a})
		l.written(a, b, func(off, n uint64) { wrote(o.ID, o.Overlap(off, n)) })
	})
	if w.Op == fs.OpDiscard {
		l.pending.Take(off, n)
		return
	}
	slices.SortFunc(owned, func(a, b fs.Range) int {
		if a.Off < b.Off {
			return -1
		}
		if a.Off > b.Off {
			return 1
		}
		return 0
	})
	at := off
	for _, r := range owned {
		if r.Off > at {
			l.pending.Add(at, r.Off-at, w.Stamp)
		}
		at = max(at, r.Off+r.Len)
	}
	if at < off+n {
		l.pending.Add(at, off+n-at, w.Stamp)
	}
}

// Moved says that a file's extents are now others, both in logical order. wrote
// is called for what had been written there before the file owned it.
func (l *Ledger) Moved(id fs.ID, old, now []fs.Extent, wrote func(r fs.Range, first, last fs.Stamp)) {
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		old, now = old[1:], now[1:]
	}
	for _, e := range old {
		if o, ok := l.claim(id, e); ok {
			l.owners.Remove(o)
		}
	}
	for _, e := range now {
		o, ok := l.claim(id, e)
		if !ok {
			continue
		}
		l.owners.Add(o)
		for _, r := range l.pending.Peek(o.Physical, o.span()) {
			wrote(o.Overlap(r.Off, r.Len), r.First, r.Last)
			l.claimed = append(l.claimed, fs.Range{Off: r.Off, Len: r.Len})
		}
	}
}

// Release forgets the writes that Moved has told of. Until then clones of one
// extent may each claim them.
func (l *Ledger) Release() {
	for _, r := range l.claimed {
		l.pending.Take(r.Off, r.Len)
	}
	l.claimed = l.claimed[:0]
}

// Forget drops unclaimed writes from before record seq.
func (l *Ledger) Forget(seq uint64) { l.pending.Forget(seq) }

// Incomplete reports whether a bound was hit, so that some written data is not
// told under its file.
func (l *Ledger) Incomplete() bool { return l.owners.Crowded() || l.pending.Lost() }
