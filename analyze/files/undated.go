package files

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// burst is how long a kernel may take to write back what one call wrote, ns of the
// tape.
const burst = int64(2e9)

// maxUndated bounds the ranges of a file whose content waits for its date: with more it
// is told of without one, as of each further part.
const maxUndated = 1024

// undated is content that waits for its date, and what was known of its file when it
// came: it may have been renamed, or be gone, when there is to be told of it.
type undated struct {
	fs.DataChange
	path string
	attr fs.Attr
}

// then is the file as it was when the content came, at the size that it has now.
func (u *undated) then(now fs.Attr) fs.Attr {
	attr := u.attr
	if now.Live && now.Generation == attr.Generation {
		attr.Size = now.Size
	}
	return attr
}

// turn is when content that waits is next to be looked at, if it is still the same.
type turn struct {
	id   fs.ID
	from uint64 // the first record of it
	at   int64
}

// met is when content came that the log had announced, and the time it gave.
type met struct {
	mtime, at int64
}

// settleDates gives content that waits for it to the transaction that dates it, and
// has content that this one does not date wait.
func (v *volumeState) settleDates(tx *fs.Tx) (first map[fs.ID]bool) {
	changes := map[fs.ID]*fs.InodeChange{}
	for i := range tx.Inodes {
		changes[tx.Inodes[i].ID] = &tx.Inodes[i]
	}
	for i := range tx.Inodes {
		change := &tx.Inodes[i]
		d := v.undated[change.ID]
		switch {
		case d == nil:
		case ended(change):
			v.tellUndated(change.ID)
		case change.New.MTime != change.Old.MTime || change.New.Size != change.Old.Size:
			tx.Data = merged(tx.Data, &d.DataChange)
			delete(v.undated, change.ID)
			if first == nil {
				first = map[fs.ID]bool{}
			}
			first[change.ID] = true
		}
	}
	v.lookAtUndated(tx.Last.Time)
	if tx.Basis == fs.BasisWrite && v.info.Journaled {
		tx.Data = slices.DeleteFunc(tx.Data, func(d fs.DataChange) bool { return changes[d.ID] == nil && v.wait(d) })
	}
	return first
}

// lookAtUndated tells of what has waited longer than it takes to be dated.
func (v *volumeState) lookAtUndated(now int64) {
	for len(v.turns) > 0 && now-v.turns[0].at > fs.WritebackLag {
		next := v.turns[0]
		v.turns = v.turns[1:]
		d := v.undated[next.id]
		switch {
		case d == nil || d.First.Seq != next.from: // it was told, or is other content
		case d.Last.Time > next.at:
			v.turns = append(v.turns, turn{next.id, next.from, d.Last.Time})
		default:
			v.tellUndated(next.id)
		}
	}
}

// wait keeps content that nothing has dated.
func (v *volumeState) wait(d fs.DataChange) bool {
	attr, err := v.fs.Stat(d.ID)
	_, announced := v.awaited[d.ID]
	if err != nil || announced || len(v.names.of[d.ID]) == 0 {
		return false
	}
	if m, ok := v.met[d.ID]; ok && m.mtime == attr.MTime && d.First.Time-m.at < burst {
		v.met[d.ID] = met{m.mtime, d.Last.Time}
		return false
	}
	w := v.undated[d.ID]
	if w == nil {
		v.undated[d.ID] = &undated{d, v.names.path(d.ID), attr}
		v.turns = append(v.turns, turn{d.ID, d.First.Seq, d.Last.Time})
		return true
	}
	w.Ranges, w.Last = fs.JoinRanges(append(w.Ranges, d.Ranges...)), d.Last
	if len(w.Ranges) > maxUndated {
		v.tellUndated(d.ID)
	}
	return true
}

// overtaken tells of content that nothing has dated yet when other content is about
// to take its place: it is a version of its own. What lies beyond the size the inode
// has waits on, its end is not known.
func (v *volumeState) overtaken(id fs.ID) {
	d := v.undated[id]
	if d == nil || !v.storing || v.a.now-d.Last.Time <= quiet {
		return
	}
	attr, err := v.fs.Stat(id)
	if k := len(d.Ranges) - 1; err == nil && k >= 0 && d.Ranges[k].Off+d.Ranges[k].Len <= (attr.Size+v.info.BlockSize-1)/v.info.BlockSize*v.info.BlockSize {
		v.tellUndated(id)
	}
}

// merged adds d to the changes of a transaction, sorted by file.
func merged(all []fs.DataChange, d *fs.DataChange) []fs.DataChange {
	k, found := slices.BinarySearchFunc(all, d.ID, func(x fs.DataChange, id fs.ID) int { return x.ID.Compare(id) })
	if !found {
		return slices.Insert(all, k, *d)
	}
	x := &all[k]
	x.Ranges = fs.JoinRanges(append(x.Ranges, d.Ranges...))
	if d.First.Seq < x.First.Seq {
		x.First = d.First
	}
	if d.Last.Seq > x.Last.Seq {
		x.Last = d.Last
	}
	return all
}

// tellUndated tells of content whose time the log never gave: between the change
// known before and the write itself.
func (v *volumeState) tellUndated(id fs.ID) {
	d := v.undated[id]
	delete(v.undated, id)
	c := v.classify(&fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime, First: d.First, Last: d.Last, Data: []fs.DataChange{d.DataChange}})
	c.data[id], c.first, c.late = &c.tx.Data[0], map[fs.ID]bool{id: true}, d
	c.contents()
	c.flush()
	delete(v.before, id)
	v.remember()
}
