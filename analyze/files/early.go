package files

import (
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// early is a name that reached the disk, as it can without a journal, before its
// inode, which is still of an earlier life or of fewer names, or before the name of a
// directory above it.
type early struct {
	fs.Dirent
	first, last fs.Stamp // of what brought it
	since       int64    // and when that was done at the earliest, 0 unknown
}

// stale says whether an inode cannot yet be what a name stands for.
func (c *classifier) stale(d fs.Dirent, a fs.Attr) bool {
	switch {
	case c.v.info.Journaled:
		return false
	case !a.Live:
		return true
	case d.Type != fs.TypeUnknown && d.Type != a.Type:
		return true
	}
	return !c.ripe && a.Type != fs.TypeDir && len(c.v.names.of[d.Child])+c.v.unheard(&a) > int(a.Links)
}

// unborn says whether a name cannot yet be told to be that of the file whose birth its
// inode shows. The number may have been used again: the name may be of a life that has
// yet to reach the disk, or of one that is over and never did.
func (c *classifier) unborn(d fs.Dirent, a *fs.Attr, w *early) bool {
	v, change := c.v, c.inodes[d.Child]
	birth := v.nameless[d.Child]
	switch {
	case !v.info.Apart:
		return false
	case a.Live && d.Type != fs.TypeUnknown && d.Type != a.Type:
		return true
	case fresh(change):
		birth = change
	case birth == nil || ended(change):
		return false
	}
	switch {
	case c.ripe:
		return false
	case change == nil:
		return true // not written since
	}
	return w != nil && birth.New.BTime != fs.NoTime && v.guestTime(w.last.Time) < birth.New.BTime
}

// unheard is how many of the names that an inode counts are known to be gone: their going
// was told, and it has not been written since.
func (v *volumeState) unheard(a *fs.Attr) int {
	s, ok := v.spent[a.ID]
	if ok && (s.attr.CTime != a.CTime || s.attr.Links != a.Links || s.attr.Generation != a.Generation) {
		delete(v.spent, a.ID)
		return 0
	}
	return s.names
}

// spend notes that a name of an inode went that the inode still counts.
func (v *volumeState) spend(g *gone, a *fs.Attr) {
	if v.info.Apart && a.CTime == g.attr.CTime && a.Links == g.attr.Links && a.Generation == g.attr.Generation {
		v.spent[a.ID] = spent{v.unheard(a) + 1, *a}
	}
}

// spent are names of an inode that went while it was as attr.
type spent struct {
	names int
	attr  fs.Attr
}

// await keeps a name until the inode id, or its name, arrives; was is the path that the
// file had before, "" if none is known.
func (c *classifier) await(id fs.ID, d fs.Dirent, was string) {
	if id == d.Child {
		c.v.names.doubt(d, was)
	}
	since, _ := c.bounds()
	c.v.early[id] = append(c.v.early[id], early{d, c.tx.First, c.tx.Last, since})
	c.v.halves = append(c.v.halves, turn{id, c.tx.First.Seq, c.tx.Last.Time})
}

// arrived tells of the names that waited for an inode, and of those it had and has no
// more.
func (c *classifier) arrived(id fs.ID, first map[fs.ID]bool) {
	waiting := c.v.early[id]
	delete(c.v.early, id)
	for _, w := range waiting {
		if c.v.names.entries[w.Parent][w.Name] != w.Child {
			continue // gone before it was ever a file's
		}
		n, k := len(c.out), len(c.v.early[id])
		c.came(w.Dirent, nil, first, &w)
		for ; k < len(c.v.early[id]); k++ {
			c.v.early[id][k] = w // it waits on
		}
		for k := range c.out[n:] {
			c.out[n+k].since = earliest(c.out[n+k].since, w.since)
			c.out[n+k].FirstRecord = min(c.out[n+k].FirstRecord, w.first.Seq)
		}
	}
	c.settled(id)
}

// isEarly reports whether a name waits for its inode, and not for a directory above.
func (v *volumeState) isEarly(d fs.Dirent) bool {
	return slices.ContainsFunc(v.early[d.Child], func(w early) bool { return w.Parent == d.Parent && w.Name == d.Name })
}

// earliest is the earlier of two times that may not be known.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// wasEarly reports whether a name that goes was never told of, and forgets it.
func (c *classifier) wasEarly(d fs.Dirent) bool {
	top, _ := c.v.names.adrift(d.Parent)
	for _, id := range []fs.ID{d.Child, top} {
		ws := c.v.early[id]
		if i := slices.IndexFunc(ws, func(w early) bool { return w.Parent == d.Parent && w.Name == d.Name }); i >= 0 {
			w := ws[i]
			c.v.early[id] = slices.Delete(ws, i, i+1)
			if v := c.v; v.info.Apart && id == d.Child && len(v.moving[id]) == 0 { // else it was renamed twice
				g := gone{Dirent: w.Dirent, path: v.names.at(d), at: c.tx.Last, attr: c.was(id), seen: &w}
				c.wait(g)
			}
			return true
		}
	}
	return false
}

// glimpsed tells of a name that came and went while its inode stayed as it was before: of
// a file that the disk knows by this name alone.
func (c *classifier) glimpsed(g *gone) {
	came, unknown := g.seen, fs.Attr{ID: g.Child, ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime}
	tell := func(op Op, first, last fs.Stamp, since int64) {
		e := c.event(op, g.path, unknown)
		e.FirstRecord, e.LastRecord = first.Seq, last.Seq
		e.Type, e.since, e.until = g.Type.String(), since, c.v.a.clock.wall(last.Time)
		e.Observed, e.Notes = e.until, []string{glimpse}
		c.interval(&e)
		c.passed = append(c.passed, e)
	}
	tell(makes(g.Type), came.first, came.last, came.since)
	tell(OpUnlink, g.at, g.at, g.since)
}

// glimpse is noted where only a name showed.
const glimpse = "the inode was not written while it had this name: the name may have come or gone by a link or a rename"

// finishHalves tells of the names whose inodes never came, and of those that went
// while their inodes stayed.
func (v *volumeState) finishHalves() {
	v.conclude(v.a.lastOp)
	for _, id := range slices.SortedFunc(maps.Keys(v.moving), fs.ID.Compare) {
		for _, g := range v.moving[id] {
			c := v.classify(&fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime, First: g.at, Last: g.at})
			if g.seen != nil {
				c.glimpsed(&g)
				c.flush()
				continue
			}
			e := c.event(OpUnlink, g.path, c.attr(id, g.Type))
			e.Notes = append(e.Notes, "its inode was not freed, nor named anew, when the tape ended")
			c.add(e)
			c.flush()
		}
	}
	clear(v.moving)
	for _, id := range slices.SortedFunc(maps.Keys(v.early), fs.ID.Compare) {
		for _, w := range v.early[id] {
			c := v.classify(&fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime, First: w.first, Last: w.first})
			unknown := fs.Attr{ID: w.Child, Type: w.Type, ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime}
			c.created(v.names.at(w.Dirent), unknown, &fs.InodeChange{ID: w.Child, New: unknown})
			c.out[0].Notes = append(c.out[0].Notes, "its inode, or its directory's name, had not reached the disk when the tape ended")
			c.flush()
		}
	}
	clear(v.early)
}
