package fat

import (
	"cmp"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// A file has no number but the place of its entry, which a rename changes and which the
// next file may take at once. What stays with it is its time of creation, to 10 ms
// (vfat_rename, fs/fat/namei_vfat.c: fat_attach and __fat_write_inode put the inode's own
// into the new entry; __exfat_rename, fs/exfat/namei.c, copies the entry), and its first
// cluster once it has one.

// file is one side of a change: what was, or is, at the place of an entry.
type file struct {
	at    int // index of the change
	state delta.State
	// fresh: by its time of creation and because its first bytes were written, it may have been
	// made since the last change, or its place on the volume taken by one that was.
	fresh bool
}

func (x *file) first() (uint64, bool) {
	if len(x.state.Extents) == 0 {
		return 0, false
	}
	return x.state.Extents[0].Physical, true
}

// pair recognises files that moved, and tells files apart that had the same place one
// after the other.
func (f *fat) pair(tx *fs.Tx) {
	var olds, news []file
	for k := range tx.Inodes {
		c := &tx.Inodes[k]
		was, is := file{at: k, state: f.batch.Was(c.ID)}, file{at: k, state: f.State(c.ID)}
		was.fresh = int64(was.state.Attr.Generation) >= f.past && f.rewritten(was.state.Extents)
		is.fresh = int64(is.state.Attr.Generation) >= f.past && f.rewritten(is.state.Extents)
		both := c.Old.Live && c.New.Live && c.Old.Type == c.New.Type
		switch {
		case both && c.Old.Type == fs.TypeDir && f.madeAnew(&was, &is):
			c.Old.Generation = another(c.New.Generation)
		case both && (c.Old.Type == fs.TypeDir || same(&was, &is)):
			continue
		}
		if c.Old.Live && c.Old.Type == fs.TypeFile {
			olds = append(olds, was)
		}
		if c.New.Live && c.New.Type == fs.TypeFile {
			news = append(news, is)
		}
	}
	from := f.sources(olds, news)
	f.stay(tx, olds, news, from)
	f.move(tx, olds, news, from)
	slices.SortFunc(tx.Inodes, func(a, b fs.InodeChange) int { return a.ID.Compare(b.ID) })
}

// same reports whether an entry is of the file that it was of before.
func same(was, is *file) bool {
	a, some := was.first()
	b, both := is.first()
	switch {
	case was.state.Attr.Generation != is.state.Attr.Generation:
		return false
	case slices.Equal(was.state.Names, is.state.Names):
		return !elsewhere(was, is)
	case coarse(is.state.Attr.Generation):
		return some && both && a == b && !was.fresh && !is.fresh
	}
	return !some || !both || a == b
}

// elsewhere reports whether what a place of one name holds began in another cluster, so
// that it may be a file renamed over one made within the same second.
func elsewhere(was, is *file) bool {
	a, some := was.first()
	b, both := is.first()
	return coarse(is.state.Attr.Generation) && some && both && a != b
}

// madeAnew reports whether a directory whose name is another may be another: one made
// within the same second, in the cluster of one removed. Nothing that was in it is left.
func (f *fat) madeAnew(was, is *file) bool {
	d := is.state.Attr.ID
	return coarse(is.state.Attr.Generation) && int64(is.state.Attr.Generation) >= f.past && f.emptied[d] && !slices.Equal(was.state.Names, is.state.Names)
}

// another is the time of creation of one of two files of a second, told apart.
func another(born uint64) uint64 { return born + 1 }

// stay looks at the places that had one file and have another with the same name. Where
// that is none that moved, and the first was empty, it may be the same: rename(2) makes
// the new entry with the time of the call, and the inode is written to it later
// (vfat_add_entry, fs/fat/namei_vfat.c). Or it was cut to nothing and written again.
func (f *fat) stay(tx *fs.Tx, olds, news []file, from []int) {
	was, taken := map[int]*file{}, map[int]bool{}
	for i := range olds {
		was[olds[i].at] = &olds[i]
	}
	for _, o := range from {
		if o >= 0 {
			taken[olds[o].at] = true
		}
	}
	for i := range news {
		old, c := was[news[i].at], &tx.Inodes[news[i].at]
		if old == nil {
			continue
		}
		_, some := old.first()
		again := old.state.Attr.Generation == news[i].state.Attr.Generation && elsewhere(old, &news[i])
		if (!some || again) && from[i] < 0 && !taken[old.at] && slices.Equal(old.state.Names, news[i].state.Names) {
			c.Old.Generation = c.New.Generation
			continue
		}
		if c.Old.Generation == c.New.Generation {
			c.Old.Generation = another(c.New.Generation)
		}
		renamed(tx, old, &news[i])
	}
}

// renamed has a name go and come that two files had one after the other.
func renamed(tx *fs.Tx, was, is *file) {
	if !slices.Equal(was.state.Names, is.state.Names) {
		return // they went and came anyway
	}
	by := func(a, b fs.Dirent) int {
		return cmp.Or(a.Parent.Compare(b.Parent), cmp.Compare(a.Name, b.Name), a.Child.Compare(b.Child))
	}
	tx.Removed, tx.Added = append(tx.Removed, was.state.Names...), append(tx.Added, is.state.Names...)
	slices.SortFunc(tx.Removed, by)
	slices.SortFunc(tx.Added, by)
}

// sources gives each new file the old one that it is, -1 for none. Two with first clusters
// must have the same; a file that was empty in one of the places has only the time,
// which tells when it is the only one of its before and after.
func (f *fat) sources(olds, news []file) []int {
	type key struct {
		born, first uint64
		empty       bool
		changed     int64 // of an empty one whose time of creation may be coarse
	}
	of := func(x *file) key {
		p, ok := x.first()
		k := key{born: x.state.Attr.Generation, first: p, empty: !ok}
		if k.empty && coarse(k.born) {
			k.changed = x.state.Attr.MTime
		}
		return k
	}
	exact, before, after, alike := map[key][]int{}, map[uint64][]int{}, map[uint64]int{}, map[key]int{}
	for i := range olds {
		k := of(&olds[i])
		exact[k] = append(exact[k], i)
		before[k.born] = append(before[k.born], i)
	}
	for i := range news {
		after[news[i].state.Attr.Generation]++
		alike[of(&news[i])]++
	}
	out := make([]int, len(news))
	for i := range news {
		k := of(&news[i])
		out[i] = -1
		switch list := exact[k]; {
		case k.born == 0 || coarse(k.born) && (news[i].fresh || len(list) > 0 && olds[list[0]].fresh):
		case !k.empty && len(list) == 1:
			out[i] = list[0]
		case k.empty && coarse(k.born):
			// One from before the last change was not made since.
			if int64(k.born) < f.past && len(list) == 1 && alike[k] == 1 {
				out[i] = list[0]
			}
		case !coarse(k.born) && len(before[k.born]) == 1 && after[k.born] == 1:
			if o := before[k.born][0]; k.empty || of(&olds[o]).empty {
				out[i] = o
			}
		}
	}
	return out
}

// coarse reports whether a time of creation may be cut to seconds: not every driver fills
// in what is finer. A first cluster is soon another file's, and within the same second;
// then it must hold the bytes that it held, or the file be of an earlier second.
func coarse(born uint64) bool { return born%1e9 == 0 }

// move rewrites the changes of files that have another place now.
func (f *fat) move(tx *fs.Tx, olds, news []file, from []int) {
	old := make([]fs.InodeChange, len(tx.Inodes))
	copy(old, tx.Inodes)
	left := map[int]bool{} // changes whose old file is told of elsewhere
	for i, o := range from {
		if o >= 0 && olds[o].at != news[i].at {
			left[olds[o].at] = true
		}
	}
	for at := range left {
		tx.Inodes[at].Old = fs.Attr{}
	}
	for i, o := range from {
		if o < 0 || olds[o].at == news[i].at {
			continue
		}
		c, was := &tx.Inodes[news[i].at], &old[olds[o].at]
		if c.Displaced = c.Old; left[news[i].at] {
			c.Displaced = fs.Attr{}
		}
		c.Was, c.Old = was.ID, was.Old
		c.Old.ID = c.ID
		c.Content = !slices.Equal(olds[o].state.Extents, news[i].state.Extents)
	}
	tx.Inodes = slices.DeleteFunc(tx.Inodes, func(c fs.InodeChange) bool { return !c.Old.Live && !c.New.Live })
}
