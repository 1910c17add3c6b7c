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
	change := func(num uint64) {
		for _, d := range n.remember(num) {
			if st, ok := n.batch.Old(d); ok && st.Attr.Type == fs.TypeFile {
				s.Touch(d)
			}
		}
	}
	n.vol.overlapping(w.Off, w.Len, func(num uint64) {
		old, err := n.vol.raw(num)
		now := n.patched(num, old, w)
		if err == nil && bytes.Equal(old, now) && w.Op != fs.OpUnknown {
			return
		}
		change(num)
		if base := baseOf(now); base != 0 && num != base.record() {
			change(base.record()) // it may list the record already
		}
	})
	n.described.Find(w.Off, w.Len, func(o blockmap.Owner) { change(o.ID.Num) })
	n.ledger.Compare(n.vol.r, w, n.vol.boot.Cluster)
}

// patched is record num as w leaves it; old are its bytes, none where it cannot be read.
func (n *ntfs) patched(num uint64, old []byte, w *fs.Write) []byte {
	c, rs := n.vol.boot.Cluster, uint64(n.vol.boot.RecordSize)
	b := make([]byte, rs)
	copy(b, old)
	for _, r := range n.vol.mft {
		lo, hi := max(num*rs, r.vcn*c), min((num+1)*rs, (r.vcn+r.count)*c)
		if lo >= hi || r.sparse {
			continue
		}
		at := r.lcn*c + lo - r.vcn*c
		from, to := max(at, w.Off), min(at+hi-lo, w.Off+w.Len)
		if from >= to {
			continue
		}
		into := b[lo-num*rs+from-at:][:to-from]
		if clear(into); w.Op == fs.OpWrite {
			copy(into, w.Data[from-w.Off:])
		}
	}
	return b
}

// baseOf is the record that a file record extends, 0 for none.
func baseOf(b []byte) reference {
	if len(b) < 40 || string(b[:4]) != "FILE" {
		return 0
	}
	return reference(le.Uint64(b[32:]))
}

// remember records the present state of the file that record num is part of, and
// of its streams. One that was part of another may become a file of its own.
func (n *ntfs) remember(num uint64) []fs.ID {
	nums := []uint64{num}
	if b, _ := n.vol.raw(num); baseOf(b) != 0 {
		nums = append(nums, baseOf(b).record())
	}
	var ids []fs.ID
	for _, num := range nums {
		if n.files[num] {
			continue // what it has more by now, it did not have
		}
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

// held reports whether a reference was good before the batch under way, where the batch has
// the directory: its record may be written as free, or as a directory, before or after
// those of the files in it.
func (n *ntfs) held(r reference) (good, known bool) {
	was, known := n.batch.Old(id(r.record(), ""))
	return known && was.Attr.Live && was.Attr.Type == fs.TypeDir && was.Attr.Generation == uint64(r.seq()), known
}

// follow remembers what has names in directories that came or went in the batch.
func (n *ntfs) follow() {
	for _, num := range slices.Sorted(maps.Keys(n.files)) {
		was, _ := n.batch.Old(id(num, ""))
		is := n.vol.State(id(num, ""))
		dir := func(st *delta.State) bool { return st.Attr.Live && st.Attr.Type == fs.TypeDir }
		if dir(&was) == dir(&is) && (!dir(&is) || was.Attr.Generation == is.Attr.Generation) {
			continue
		}
		for _, c := range slices.Sorted(maps.Keys(n.children[num])) {
			n.remember(c)
		}
	}
}

// Apply implements fs.Filesystem.
func (n *ntfs) Apply(w *fs.Write, _ fs.Sink) {
	mft := false
	n.vol.overlapping(w.Off, w.Len, func(num uint64) {
		n.batch.At(w.Stamp)
		b, _ := n.vol.raw(num)
		mft = mft || num == 0 || baseOf(b) != 0 && baseOf(b).record() == 0
	})
	n.described.Find(w.Off, w.Len, func(o blockmap.Owner) {
		n.batch.At(w.Stamp)
		mft = mft || o.ID.Num == 0
	})
	n.now = w.Stamp
	n.journal.wrote(n.vol, w)
	if mft {
		n.relocate()
	}
	n.vol.outside(w.Off, w.Len, func(off, length uint64) {
		n.ledger.Write(off, length, w, func(d fs.ID, r fs.Range) { n.wrote(d, r, w.Stamp, w.Stamp) })
	})
}

// relocate reads where the MFT is now. Records that it has more of may have been written
// before.
func (n *ntfs) relocate() {
	had := n.vol.records()
	n.lost = n.vol.locate()
	f, _ := n.vol.file(0)
	n.describe(0, f) // its list may be elsewhere, and written later
	for num := had; num < n.vol.records(); num++ {
		n.files[num] = true
		n.batch.Absent(id(num, ""))
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
	if n.lost != nil {
		s.Problem(fs.Problem{Kind: problemKind(n.lost), At: n.now, Text: n.lost.Error()})
		n.lost = nil
	}
	n.follow()
	for _, num := range slices.Sorted(maps.Keys(n.files)) {
		f, _ := n.vol.file(num)
		n.describe(num, f)
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

// describe notes where what describes a file is kept outside of its record, and which
// directories its names refer to.
func (n *ntfs) describe(num uint64, f *file) {
	owner := func(r run) blockmap.Owner {
		return blockmap.Owner{ID: id(num, ""), Physical: r.lcn * n.vol.boot.Cluster, Length: r.count * n.vol.boot.Cluster}
	}
	for _, r := range n.apart[num] {
		n.described.Remove(owner(r))
	}
	delete(n.apart, num)
	for _, p := range n.parents[num] {
		if delete(n.children[p], num); len(n.children[p]) == 0 {
			delete(n.children, p)
		}
	}
	delete(n.parents, num)
	if f == nil {
		return
	}
	for _, name := range f.names {
		p := name.parent.record()
		if n.children[p] == nil {
			n.children[p] = map[uint64]bool{}
		}
		n.children[p][num] = true
		n.parents[num] = append(n.parents[num], p)
	}
	for _, r := range f.apart {
		if r.sparse {
			continue
		}
		n.described.Add(owner(r))
		n.apart[num] = append(n.apart[num], r)
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
