// Package delta turns "these inodes may have changed" into the typed deltas of a
// fs.Tx: it reads each before and after and keeps the differences. Filesystems
// whose commits name the inodes they touch (xfs log items, btrfs leaves, NTFS
// file records, FAT directories) need nothing else.
package delta

import (
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// State is all that is compared of one inode.
type State struct {
	Attr    fs.Attr // zero for a free inode
	Xattrs  []fs.Xattr
	Names   []fs.Dirent // in a directory; or of a file, where names are kept with it
	Extents []fs.Extent // of a file
	// Unknown: part of it could not be read, so that what is missing here may exist.
	Unknown bool
}

// Source reads inodes as they stand at the time of the call.
type Source interface {
	State(id fs.ID) State
}

// Batch gathers what may have changed and tells the differences once.
type Batch struct {
	src    Source
	before map[fs.ID]State
	data   map[fs.ID]*fs.DataChange
	was    map[fs.ID]State // of the last Build: old states
	// kept are names that were not told to be gone, though they were not found, because not
	// all of their inode could be read. They are its own until it can be.
	kept  map[fs.ID][]fs.Dirent
	first fs.Stamp
	last  fs.Stamp
}

// New makes an empty batch over src.
func New(src Source) *Batch {
	return &Batch{src: src, before: map[fs.ID]State{}, data: map[fs.ID]*fs.DataChange{}, kept: map[fs.ID][]fs.Dirent{}}
}

// Before records the state of id, unless it did already since the last Build.
// Call it while the old state can still be read. It reports whether it was new.
func (b *Batch) Before(id fs.ID) bool {
	if _, ok := b.before[id]; ok {
		return false
	}
	st := b.src.State(id)
	if kept := b.kept[id]; len(kept) > 0 {
		lost, _ := diffNames(kept, st.Names)
		st.Names = append(slices.Clip(st.Names), lost...)
	}
	b.before[id] = st
	return true
}

// Absent records that id did not exist, unless Before recorded otherwise.
func (b *Batch) Absent(id fs.ID) {
	if _, ok := b.before[id]; !ok {
		b.before[id] = State{}
	}
}

// Old returns the state recorded by Before.
func (b *Batch) Old(id fs.ID) (State, bool) {
	s, ok := b.before[id]
	return s, ok
}

// At extends the interval of records that the batch rests on.
func (b *Batch) At(s fs.Stamp) {
	if s.Seq == 0 {
		return
	}
	if b.first.Seq == 0 || s.Seq < b.first.Seq {
		b.first = s
	}
	if s.Seq >= b.last.Seq {
		b.last = s
	}
}

// Wrote adds a range of file content written between first and last.
func (b *Batch) Wrote(id fs.ID, r fs.Range, first, last fs.Stamp) {
	if r.Len == 0 {
		return
	}
	d := b.data[id]
	if d == nil {
		d = &fs.DataChange{ID: id, First: first, Last: last}
		b.data[id] = d
	}
	if first.Seq < d.First.Seq {
		d.First = first
	}
	if last.Seq > d.Last.Seq {
		d.Last = last
	}
	if k := len(d.Ranges); k > 0 && d.Ranges[k-1].Off+d.Ranges[k-1].Len == r.Off {
		d.Ranges[k-1].Len += r.Len
		return
	}
	d.Ranges = append(d.Ranges, r)
	if len(d.Ranges) > 4096 {
		d.Ranges = fs.JoinRanges(d.Ranges)
	}
}

// Kept lists names that were not found and are not known to be gone.
func (b *Batch) Kept() []fs.Dirent {
	var out []fs.Dirent
	for _, names := range b.kept {
		out = append(out, names...)
	}
	slices.SortFunc(out, compareDirent)
	return out
}

// Empty reports whether there is nothing to build.
func (b *Batch) Empty() bool { return len(b.before) == 0 && len(b.data) == 0 }

// Was is the state that an inode had before the last Build.
func (b *Batch) Was(id fs.ID) State { return b.was[id] }

// Change is one inode's states, for the filesystem's own bookkeeping.
type Change struct {
	ID       fs.ID
	Old, New State
}

// Build reads every recorded inode again, fills in tx and empties the batch.
// moved is called for each inode whose extents differ, before data is gathered,
// so that it may still call Wrote. It returns false when nothing changed.
func (b *Batch) Build(tx *fs.Tx, moved func(Change)) bool {
	b.was = b.before
	ids := make([]fs.ID, 0, len(b.before))
	for id := range b.before {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, fs.ID.Compare)
	for _, id := range ids {
		c := Change{ID: id, Old: b.before[id], New: b.src.State(id)}
		b.inode(tx, c, moved)
	}
	for _, id := range sortedKeys(b.data) {
		d := b.data[id]
		d.Ranges = fs.JoinRanges(d.Ranges)
		tx.Data = append(tx.Data, *d)
		b.At(d.First)
		b.At(d.Last)
	}
	slices.SortFunc(tx.Removed, compareDirent)
	slices.SortFunc(tx.Added, compareDirent)
	if tx.First.Seq == 0 {
		tx.First = b.first
	}
	if tx.Last.Seq == 0 {
		tx.Last = b.last
	}
	was, kept := b.was, b.kept
	*b = *New(b.src)
	b.was, b.kept = was, kept
	return len(tx.Inodes)+len(tx.Removed)+len(tx.Added)+len(tx.Data) > 0
}

func (b *Batch) inode(tx *fs.Tx, c Change, moved func(Change)) {
	ch := fs.InodeChange{ID: c.ID, Old: c.Old.Attr, New: c.New.Attr, OldUnknown: c.Old.Unknown}
	if !sameExtents(c.Old.Extents, c.New.Extents) {
		ch.Content = true
		if ch.Old.Live && ch.New.Live && ch.Old.Size == ch.New.Size {
			ch.Shown, ch.Zeroed = fs.Shown(c.Old.Extents, c.New.Extents, ch.New.Size), fs.Zeroed(c.Old.Extents, c.New.Extents, ch.New.Size)
		}
		if moved != nil {
			moved(c)
		}
	}
	if !sameXattrs(c.Old.Xattrs, c.New.Xattrs) {
		ch.OldXattrs, ch.NewXattrs = c.Old.Xattrs, c.New.Xattrs
	}
	if ch.Content || ch.Old != ch.New || ch.OldXattrs != nil || ch.NewXattrs != nil {
		tx.Inodes = append(tx.Inodes, ch)
	}
	gone, come := diffNames(c.Old.Names, c.New.Names)
	if c.New.Unknown && len(gone) > 0 {
		// What cannot be read now is not known to be gone.
		b.kept[c.ID], gone = gone, nil
	} else {
		delete(b.kept, c.ID)
	}
	tx.Removed = append(tx.Removed, gone...)
	tx.Added = append(tx.Added, come...)
}

func sameExtents(a, b []fs.Extent) bool { return slices.Equal(a, b) }

func sameXattrs(a, b []fs.Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y fs.Xattr) bool { return x.Name == y.Name && string(x.Value) == string(y.Value) })
}

// diffNames compares two listings: of one directory, or of one file's names.
func diffNames(old, now []fs.Dirent) (gone, come []fs.Dirent) {
	type entry struct {
		parent, child fs.ID
		name          string
	}
	// Listings come in the order of the disk, so that most of two is the same.
	for len(old) > 0 && len(now) > 0 && old[0] == now[0] {
		old, now = old[1:], now[1:]
	}
	for len(old) > 0 && len(now) > 0 && old[len(old)-1] == now[len(now)-1] {
		old, now = old[:len(old)-1], now[:len(now)-1]
	}
	left := make(map[entry]int, len(old))
	for _, d := range old {
		left[entry{d.Parent, d.Child, d.Name}]++
	}
	for _, d := range now {
		e := entry{d.Parent, d.Child, d.Name}
		if left[e] > 0 {
			left[e]--
			continue
		}
		come = append(come, d)
	}
	for _, d := range old {
		e := entry{d.Parent, d.Child, d.Name}
		if left[e] > 0 {
			left[e]--
			gone = append(gone, d)
		}
	}
	return gone, come
}

func compareDirent(a, b fs.Dirent) int {
	if c := a.Parent.Compare(b.Parent); c != 0 {
		return c
	}
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return a.Child.Compare(b.Child)
}

func sortedKeys(m map[fs.ID]*fs.DataChange) []fs.ID {
	ids := make([]fs.ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, fs.ID.Compare)
	return ids
}
