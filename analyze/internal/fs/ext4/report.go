package ext4

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// report builds the transaction's deltas.
func (d *differ) report(nums []uint32) *fs.Tx {
	f, t := d.f, d.t
	tx := &fs.Tx{Number: t.number, Basis: t.basis, Time: t.time, First: t.first, Last: t.last, Incomplete: t.incomplete}
	for _, n := range nums {
		c := d.changes[n]
		if f.system(n) || c.old.flags&flagEAInode != 0 || c.new.flags&flagEAInode != 0 || !c.oldLive && !c.newLive {
			continue
		}
		if ic, differs := d.inodeChange(c); differs {
			tx.Inodes = append(tx.Inodes, ic)
		}
	}
	tx.Removed = d.surplus(d.removed, d.added)
	tx.Added = d.surplus(d.added, d.removed)
	tx.Data = d.content()
	if tx.First == (fs.Stamp{}) && len(tx.Data) > 0 {
		tx.First, tx.Last = tx.Data[0].First, tx.Data[0].Last
		for _, x := range tx.Data {
			if x.First.Seq < tx.First.Seq {
				tx.First = x.First
			}
			if x.Last.Seq > tx.Last.Seq {
				tx.Last = x.Last
			}
		}
	}
	return tx
}

func (d *differ) inodeChange(c *change) (fs.InodeChange, bool) {
	ic := fs.InodeChange{ID: fs.ID{Num: uint64(c.num)}, OldUnknown: c.oldUnknown}
	if c.oldLive {
		ic.Old = d.old.attr(&c.old)
	}
	if c.newLive {
		ic.New = d.f.now.attr(&c.new)
	} else if c.new.mode != 0 {
		ic.New.CTime = c.new.ctime
	}
	ic.Content = c.oldLive != c.newLive || !slices.Equal(c.oldMap.runs, c.newMap.runs) || c.old.size != c.new.size
	if ic.Content && c.oldLive && c.newLive && c.old.size == c.new.size {
		old, now := d.old.extents(&c.oldMap), d.f.now.extents(&c.newMap)
		ic.Shown, ic.Zeroed = fs.Shown(old, now, c.new.size), fs.Zeroed(old, now, c.new.size)
	}
	if c.oldLive && c.old.inline() || c.newLive && c.new.inline() {
		if !c.oldLive || !c.newLive || !bytes.Equal(c.old.block(), c.new.block()) || !bytes.Equal(inlineAttr(&c.old), inlineAttr(&c.new)) {
			ic.Content = true
			if c.newLive && c.new.isFile() && c.new.inline() && c.new.size > 0 {
				d.inlineData(c)
			}
		}
	}
	if c.oldLive && c.newLive {
		ic.OldXattrs, ic.NewXattrs = d.xattrChange(c)
	}
	differs := ic.Old != ic.New || ic.Content || ic.OldXattrs != nil || ic.NewXattrs != nil
	return ic, differs
}

// inlineData: content inside the inode is written with it.
func (d *differ) inlineData(c *change) {
	from := uint64(0)
	if c.oldLive && c.old.inline() {
		a := append(append([]byte(nil), c.old.block()...), inlineAttr(&c.old)...)
		b := append(append([]byte(nil), c.new.block()...), inlineAttr(&c.new)...)
		for from < uint64(min(len(a), len(b))) && a[from] == b[from] {
			from++
		}
	}
	if from >= c.new.size {
		return
	}
	x := &dirt{}
	x.note(from, c.new.size-from, d.t.last, d.t.last)
	d.data[c.num] = x
}

// xattrChange is an inode's attributes before and after, nil where they are the same.
func (d *differ) xattrChange(c *change) (old, now []fs.Xattr) {
	ox, err1 := d.old.seenXattrs(&c.old, d.unseen)
	nx, err2 := d.f.now.seenXattrs(&c.new, d.f.unseen)
	if err2 != nil {
		d.problems = append(d.problems, problemOf(err2, c.num))
	}
	if err1 != nil || err2 != nil || sameXattrs(ox, nx) {
		return nil, nil
	}
	return ox, nx
}

func sameXattrs(a, b []fs.Xattr) bool {
	return slices.EqualFunc(a, b, func(x, y fs.Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

// surplus lists what a has more of than b, sorted.
func (d *differ) surplus(a, b map[direntKey]entryCount) []fs.Dirent {
	var out []fs.Dirent
	for k, n := range a {
		if n.n > b[k].n {
			out = append(out, dirent(k.parent, entry{k.name, k.child, n.typ}))
		}
	}
	sortDirents(out)
	return out
}

func sortDirents(ds []fs.Dirent) {
	slices.SortFunc(ds, func(x, y fs.Dirent) int {
		return cmp.Or(x.Parent.Compare(y.Parent), cmp.Compare(x.Name, y.Name), x.Child.Compare(y.Child))
	})
}

// content lists the ranges written to files, clipped to their size.
func (d *differ) content() []fs.DataChange {
	f := d.f
	for n, x := range f.dirty {
		y := d.data[n]
		if y == nil {
			d.data[n] = x
			continue
		}
		y.ranges = append(y.ranges, x.ranges...)
		if x.first.Seq < y.first.Seq {
			y.first = x.first
		}
		if x.last.Seq > y.last.Seq {
			y.last = x.last
		}
	}
	clear(f.dirty)
	var out []fs.DataChange
	for n, x := range d.data {
		i, err := f.now.inode(n)
		if err != nil || !f.now.live(&i) || !i.isFile() || f.system(n) {
			continue
		}
		var rs []fs.Range
		for _, r := range fs.JoinRanges(x.ranges) {
			if r.Off < i.size {
				rs = append(rs, fs.Range{Off: r.Off, Len: min(r.Len, i.size-r.Off)})
			}
		}
		if len(rs) > 0 {
			out = append(out, fs.DataChange{ID: fs.ID{Num: uint64(n)}, Ranges: rs, First: x.first, Last: x.last})
		}
	}
	slices.SortFunc(out, func(a, b fs.DataChange) int { return a.ID.Compare(b.ID) })
	return out
}
