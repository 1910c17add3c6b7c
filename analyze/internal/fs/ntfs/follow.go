package ntfs

import (
	"bytes"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// Prepare implements fs.Filesystem.
func (n *ntfs) Prepare(w *fs.Write, s fs.Sink) {
	n.ledger.Owners(w.Off, w.Len, func(o blockmap.Owner) { s.Touch(o.ID) })
	n.vol.overlapping(w.Off, w.Len, func(num uint64) {
		old, err := n.vol.raw(num)
		if err == nil && w.Op == fs.OpWrite && n.unchanged(num, old, w) {
			return
		}
		for _, d := range n.remember(num) {
			if st, ok := n.batch.Old(d); ok && st.Attr.Type == fs.TypeFile {
				s.Touch(d)
			}
		}
	})
}

// unchanged reports whether w repeats what record num already is.
func (n *ntfs) unchanged(num uint64, old []byte, w *fs.Write) bool {
	at := uint64(0)
	same := true
	c, rs := n.vol.boot.Cluster, uint64(n.vol.boot.RecordSize)
	for _, r := range n.vol.mft {
		lo, hi := max(num*rs, r.vcn*c), min((num+1)*rs, (r.vcn+r.count)*c)
		if lo >= hi || r.sparse {
			continue
		}
		at = r.lcn*c + lo - r.vcn*c
		a, b := max(at, w.Off), min(at+hi-lo, w.Off+w.Len)
		if a < b {
			o := lo - num*rs + a - at
			same = same && bytes.Equal(old[o:o+b-a], w.Data[a-w.Off:b-w.Off])
		}
	}
	return same
}

// remember records the present state of the file that record num is part of, and
// of its streams. One that was part of another may become a file of its own.
func (n *ntfs) remember(num uint64) []fs.ID {
	nums := []uint64{num}
	if r, err := n.vol.record(num); err == nil && r.base.record() != 0 {
		nums = append(nums, r.base.record())
	}
	var ids []fs.ID
	for _, num := range nums {
		n.files[num] = true
		ids = append(ids, id(num, ""))
		if f, _ := n.vol.file(num); f != nil {
			for _, s := range f.streams {
				if s.name != "" {
					ids = append(ids, id(num, s.name))
				}
			}
		}
	}
	n.vol.past = n.held
	for _, d := range ids {
		n.batch.Before(d)
	}
	n.vol.past = nil
	return ids
}

// held reports whether a reference was good before the batch under way: a directory's
// record may be written as free before those of the files that were in it.
func (n *ntfs) held(r reference) bool {
	was, ok := n.batch.Old(id(r.record(), ""))
	return ok && was.Attr.Live && was.Attr.Type == fs.TypeDir && was.Attr.Generation == uint64(r.seq())
}

// Apply implements fs.Filesystem.
func (n *ntfs) Apply(w *fs.Write, s fs.Sink) {
	meta, mft := false, false
	n.vol.overlapping(w.Off, w.Len, func(num uint64) {
		meta = true
		mft = mft || num == 0
		n.batch.At(w.Stamp)
		if r, err := n.vol.record(num); err == nil && r.base.record() != 0 && !n.files[r.base.record()] {
			// An extension is of no effect before its base record lists it, so that
			// the file is still as it was.
			n.remember(num)
		}
	})
	n.now = w.Stamp
	n.journal.wrote(n.vol, w)
	if mft {
		if err := n.vol.locate(); err != nil {
			s.Problem(fs.Problem{Kind: problemKind(err), At: w.Stamp, Text: err.Error()})
		}
	}
	if !meta {
		n.ledger.Write(w.Off, w.Len, w, func(d fs.ID, r fs.Range) { n.wrote(d, r, w.Stamp, w.Stamp) })
	}
}

// wrote adds a range of a file, whole units of a compressed one.
func (n *ntfs) wrote(d fs.ID, r fs.Range, first, last fs.Stamp) {
	if u := n.units[d]; u > 0 && r.Len > 0 {
		end := (r.Off + r.Len + u - 1) / u * u
		r.Off = r.Off / u * u
		r.Len = end - r.Off
	}
	n.batch.Wrote(d, r, first, last)
}

// Settle implements fs.Filesystem: what was written since the last time is told.
func (n *ntfs) Settle(at fs.Stamp, s fs.Sink) {
	if n.batch.Empty() && !n.journal.dirty {
		return
	}
	for _, num := range slices.Sorted(maps.Keys(n.files)) {
		f, _ := n.vol.file(num)
		if f == nil {
			continue
		}
		if f.isJournal() {
			_ = n.journal.attach(n.vol, f, false) // it reads nothing yet
		}
		for _, st := range f.streams {
			d := id(num, st.name)
			n.batch.Absent(d) // a stream that was not there when the record was first written
			n.note(d, st)
		}
	}
	clear(n.files)
	tx := &fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime}
	any := n.batch.Build(tx, n.moved)
	n.ledger.Release()
	n.tell(tx, s)
	if any || len(tx.Told) > 0 {
		s.Commit(tx)
	}
}

// moved brings the block index up to date and claims data that was written
// before its owner was known; small content is inside the record.
func (n *ntfs) moved(c delta.Change) {
	for _, e := range c.New.Extents {
		if e.State == fs.ExtentInline {
			n.batch.Wrote(c.ID, fs.Range{Off: e.Logical, Len: e.Length}, n.now, n.now)
		}
	}
	n.ledger.Moved(c.ID, c.Old.Extents, c.New.Extents, func(r fs.Range, first, last fs.Stamp) { n.wrote(c.ID, r, first, last) })
}
