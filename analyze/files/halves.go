package files

import (
	"cmp"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Without a journal the directories a name leaves and enters and the inode it names
// reach the disk each in its own time, in any order (fs.Info.Apart). A name that went
// and one that came are a rename when the inode has been written in between: rename(2)
// moves the change time of what it renames (ext2_rename, fs/ext2/namei.c). If instead
// the inode begins another life then, its number was used again, and the one name is of
// the old file and the other of the new.

// unconfirmed is noted where the inode was not written in between.
const unconfirmed = "the inode was not written after this name was"

// was is an inode as it was before the transaction.
func (c *classifier) was(id fs.ID) fs.Attr {
	if change := c.inodes[id]; change != nil {
		return change.Old
	}
	a, _ := c.v.fs.Stat(id)
	return a
}

// rewritten reports whether the inode was, since the name went, as a rename does it.
func (c *classifier) rewritten(g *gone, now fs.Attr) bool {
	return !c.v.info.Apart || c.ripe || now.CTime != g.attr.CTime && (now.Type == fs.TypeDir || !otherwise(&g.attr, &now)) || now.Links != g.attr.Links
}

// otherwise reports whether more than a name changed: the change time is then, or may
// be, of that.
func otherwise(old, now *fs.Attr) bool {
	return now.MTime != old.MTime && now.MTime == now.CTime || now.Mode != old.Mode || now.UID != old.UID || now.GID != old.GID
}

// half reports whether a name that went may be half of a rename: its inode says that it
// has more names than there are.
func (c *classifier) half(g *gone, a fs.Attr) bool {
	v := c.v
	if v.info.Journaled || c.replaced(g) {
		return false
	}
	return a.Links > 0 && (len(v.names.of[g.Child]) < nameable(a) || len(v.early[g.Child]) > 0)
}

// replaced reports whether another file has the name.
func (c *classifier) replaced(g *gone) bool {
	id, ok := c.v.names.entries[g.Parent][g.Name]
	return ok && id != g.Child
}

// nameable is how many names an inode may have.
func nameable(a fs.Attr) int {
	if a.Type == fs.TypeDir {
		return int(min(a.Links, 1))
	}
	return int(a.Links)
}

// wait keeps a name that went until its inode tells what became of it.
func (c *classifier) wait(g gone) {
	g.paired, g.dir = false, c.was(g.Parent).Generation
	if g.since == 0 {
		g.since, _ = c.bounds()
	}
	c.v.moving[g.Child] = append(c.v.moving[g.Child], g)
	c.v.vacated[place{g.Parent, g.Name}] = g.Child
	c.v.halves = append(c.v.halves, turn{g.Child, g.at.Seq, c.tx.Last.Time})
}

// back takes back a name that went before its coming was told, now that it is there
// again.
func (v *volumeState) back(d fs.Dirent) (gone, bool) {
	i := slices.IndexFunc(v.moving[d.Child], func(g gone) bool { return g.seen != nil && g.Parent == d.Parent && g.Name == d.Name })
	if i < 0 {
		return gone{}, false
	}
	return v.unwait(d.Child, i), true
}

// unwait takes back one of the names that wait.
func (v *volumeState) unwait(id fs.ID, i int) gone {
	gs := v.moving[id]
	g := gs[i]
	if gs = slices.Delete(gs, i, i+1); len(gs) == 0 {
		delete(v.moving, id)
	} else {
		v.moving[id] = gs
	}
	delete(v.vacated, place{g.Parent, g.Name})
	return g
}

// take is called when a name is told to be a file's: if another file's going from it
// was not told yet, it is first.
func (c *classifier) take(d fs.Dirent) {
	c.v.names.trust(d)
	if held := c.v.held[d.Child]; held != nil {
		if !ended(c.inodes[d.Child]) { // else it was the old file's, or a third one's
			c.tx.Data = append(c.tx.Data, *held)
		}
		delete(c.v.held, d.Child)
	}
	id, ok := c.v.vacated[place{d.Parent, d.Name}]
	if !ok || id == d.Child {
		return
	}
	i := slices.IndexFunc(c.v.moving[id], func(g gone) bool { return g.Parent == d.Parent && g.Name == d.Name })
	g := c.v.unwait(id, i)
	c.tell(&g, len(c.v.moving[id]) == 0)
}

// repaths gives names that went earlier and are not told of yet the path they have
// before this transaction: their directories may have been renamed since.
func (c *classifier) repaths() {
	if len(c.v.moving) == 0 {
		return
	}
	for i := range c.tx.Inodes {
		c.repath(c.tx.Inodes[i].ID)
	}
	for _, d := range c.tx.Removed {
		c.repath(d.Child)
	}
	for _, d := range c.tx.Added {
		c.repath(d.Child)
		if id, ok := c.v.vacated[place{d.Parent, d.Name}]; ok {
			c.repath(id)
		}
	}
}

func (c *classifier) repath(id fs.ID) {
	for i := range c.v.moving[id] {
		g := &c.v.moving[id][i]
		if dir, err := c.v.fs.Stat(g.Parent); err != nil || dir.Type != fs.TypeDir || dir.Generation != g.dir {
			continue // the directory is no more
		}
		if c.v.names.settled(g.Parent) {
			g.path = c.v.names.at(g.Dirent)
		}
	}
}

// outlived lists the names that an inode had in a life that is over: they are the old
// file's, whether or not their directories have been written since.
func (c *classifier) outlived() []gone {
	v := c.v
	if !v.info.Apart {
		return nil
	}
	going := map[fs.Dirent]bool{}
	for _, d := range c.tx.Removed {
		d.Type = fs.TypeUnknown
		going[d] = true
	}
	var out []gone
	for i := range c.tx.Inodes {
		change := &c.tx.Inodes[i]
		if !ended(change) || change.OldUnknown {
			continue
		}
		if change.New.Type != fs.TypeDir {
			out = c.emptied(change.ID, going, out)
		}
		for _, p := range v.names.of[change.ID] {
			d := fs.Dirent{Parent: p.parent, Name: p.name, Child: change.ID}
			if going[d] || v.isEarly(d) {
				continue
			}
			path := v.names.at(d)
			v.leave(d)
			d.Type = change.Old.Type
			out = append(out, gone{Dirent: d, path: path, at: c.tx.First, attr: change.Old})
			c.named[d.Parent], c.named[d.Child] = true, true
		}
		if fresh(change) {
			v.halves = append(v.halves, turn{change.ID, c.tx.First.Seq, c.tx.Last.Time})
		}
	}
	return out
}

// emptied adds the names that are left in a directory that is no more: it could go only
// once they had.
func (c *classifier) emptied(dir fs.ID, going map[fs.Dirent]bool, out []gone) []gone {
	v := c.v
	for _, name := range slices.Sorted(maps.Keys(v.names.entries[dir])) {
		d := fs.Dirent{Parent: dir, Name: name, Child: v.names.entries[dir][name]}
		if going[d] || v.isEarly(d) || !v.names.settled(dir) {
			continue
		}
		path := v.names.at(d)
		v.leave(d)
		was := c.was(d.Child)
		d.Type = was.Type
		out = append(out, gone{Dirent: d, path: path, at: c.tx.First, attr: was})
		c.named[d.Child] = true
	}
	return out
}

// leave takes a name out of the tree whose going is told and has yet to reach the disk.
func (v *volumeState) leave(d fs.Dirent) {
	v.leaving[d.Child] = append(v.leaving[d.Child], place{d.Parent, d.Name})
}

// left forgets a name whose going was told, now that it went.
func (v *volumeState) left(d fs.Dirent) {
	ps := v.leaving[d.Child]
	if i := slices.Index(ps, place{d.Parent, d.Name}); i < 0 {
		return
	} else if ps = slices.Delete(ps, i, i+1); len(ps) > 0 {
		v.leaving[d.Child] = ps
	} else {
		delete(v.leaving, d.Child)
	}
}

// other finds the other half of a rename that reaches the disk in two parts: a name
// that went before, or a directory's old name, which must still go because a directory
// has only one. It may have to wait for the inode to tell.
func (c *classifier) other(d fs.Dirent, a fs.Attr) (g gone, known, waits bool) {
	v := c.v
	if !v.info.Journaled && a.Live && a.Type == fs.TypeDir {
		c.oldName(d)
	}
	gs, best := v.moving[d.Child], -1
	for i := range gs {
		switch {
		case gs[i].seen != nil:
		case best < 0, gs[i].Parent == d.Parent && (gs[best].Parent != d.Parent || gs[i].Name == d.Name): // itself before all
			best = i
		}
	}
	if best < 0 {
		return gone{}, false, false
	}
	if same := gs[best].Parent == d.Parent && gs[best].Name == d.Name; !same && !c.rewritten(&gs[best], a) {
		return gs[best], false, true
	}
	return v.unwait(d.Child, best), true, false
}

// oldName takes the name that a directory had, when it is given another, for gone.
func (c *classifier) oldName(d fs.Dirent) {
	v := c.v
	for _, p := range v.names.of[d.Child] {
		if p == (place{d.Parent, d.Name}) || v.names.doubted[p] {
			continue
		}
		old := fs.Dirent{Parent: p.parent, Name: p.name, Child: d.Child, Type: fs.TypeDir}
		g := gone{Dirent: old, path: v.names.at(old), at: c.tx.First, attr: c.was(d.Child)}
		v.names.remove(old)
		v.leave(old)
		c.wait(g)
		return
	}
}

// settled tells that names went once their inode says so: it is free, another file's,
// or has no more names than are left.
func (c *classifier) settled(id fs.ID) {
	v := c.v
	over := ended(c.inodes[id])
	for len(v.moving[id]) > 0 {
		g := &v.moving[id][0]
		if a := c.attr(id, g.Type); !over && !(g.seen != nil && c.ripe) && (len(v.early[id]) > 0 || nameable(a) > len(v.names.of[id]) || !c.rewritten(g, a)) {
			return
		}
		went := v.unwait(id, 0)
		c.tell(&went, len(v.moving[id]) == 0)
	}
}

// lookAtHalves tells of what has waited longer than a kernel takes to write the rest.
func (v *volumeState) lookAtHalves(now int64) {
	for len(v.halves) > 0 && now-v.halves[0].at > fs.WritebackLag {
		due := v.halves[0]
		v.halves = v.halves[1:]
		v.ripen([]fs.ID{due.id}, fs.Stamp{Seq: due.from, Time: due.at + fs.WritebackLag})
	}
}

// conclude tells of what waits and is whole as it is: a mark was set, someone asks, or
// the tape ended.
func (v *volumeState) conclude(at fs.Stamp) {
	waiting := v.halves
	v.halves = nil
	var ids []fs.ID
	for _, w := range waiting {
		ids = append(ids, w.id)
	}
	slices.SortFunc(ids, fs.ID.Compare)
	v.ripen(slices.Compact(ids), at)
	for _, w := range waiting {
		if len(v.early[w.id])+len(v.moving[w.id]) > 0 {
			v.halves = append(v.halves, w)
		}
	}
}

// ripen tells of the names that wait for inodes as if these had been written.
func (v *volumeState) ripen(ids []fs.ID, at fs.Stamp) {
	since := at
	for _, id := range ids {
		for _, w := range v.early[id] {
			since = slices.MinFunc([]fs.Stamp{since, w.first}, bySeq)
		}
		for _, g := range v.moving[id] {
			since = slices.MinFunc([]fs.Stamp{since, g.at}, bySeq)
		}
	}
	c := v.classify(&fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime, First: since, Last: at})
	c.ripe = true
	first := map[fs.ID]bool{}
	for _, id := range ids {
		c.repath(id)
	}
	for _, id := range ids {
		c.adopt(id, first)
		c.arrived(id, first)
	}
	c.places()
	c.contents()
	c.flush()
}

// placed notes that the last event is of a name that came.
func (c *classifier) placed(d fs.Dirent) {
	if c.v.info.Apart {
		c.comers[len(c.out)-1] = d
	}
}

// places gives what was told of names that came the paths they have now that all of the
// transaction is known: a directory above may have been told of after them.
func (c *classifier) places() {
	for i, d := range c.comers {
		c.out[i].Path = c.v.names.at(d)
	}
}

// adopt gives a file that has no name yet the one that its number had in an earlier life
// and still has: it was deleted and made again under the same name.
func (c *classifier) adopt(id fs.ID, first map[fs.ID]bool) {
	v := c.v
	birth := v.nameless[id]
	if birth == nil {
		return
	}
	ps := v.leaving[id]
	delete(v.leaving, id)
	for i, p := range ps {
		if i >= nameable(birth.New) {
			v.leaving[id] = ps[i:]
			return
		}
		d := fs.Dirent{Parent: p.parent, Name: p.name, Child: id, Type: birth.New.Type}
		v.names.add(d)
		c.came(d, nil, first, nil)
	}
}

func bySeq(a, b fs.Stamp) int { return cmp.Compare(a.Seq, b.Seq) }
