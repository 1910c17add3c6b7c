package files

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// tick is the coarsest clock a kernel stamps inodes with: one jiffy at 100 Hz.
const tick = int64(10e6)

// classifier turns one transaction into events.
type classifier struct {
	v      *volumeState
	tx     *fs.Tx
	inodes map[fs.ID]*fs.InodeChange
	data   map[fs.ID]*fs.DataChange
	named  map[fs.ID]bool    // had an entry come or go
	made   map[fs.ID]bool    // was told to be created
	names  map[fs.ID]int     // links, renames and removals of the inode in this transaction
	first  map[fs.ID]bool    // content came before the inode that dates it
	late   *undated          // and the inode never came
	comers map[int]fs.Dirent // by event: the name that came with it
	ripe   bool              // halves have waited long enough: what is here is all
	passed []Event           // of names that came and went before this transaction
	out    []Event
}

// fresh reports whether the inode began its present life in this transaction.
func fresh(c *fs.InodeChange) bool {
	return c != nil && c.New.Live && !c.OldUnknown && (!c.Old.Live || c.Old.Generation != c.New.Generation || c.Old.Type != c.New.Type)
}

// ended reports whether the life the inode had before is over.
func ended(c *fs.InodeChange) bool {
	return c != nil && (!c.New.Live || c.Old.Live && (c.Old.Generation != c.New.Generation || c.Old.Type != c.New.Type))
}

// gone is a removed name with the path it had.
type gone struct {
	fs.Dirent
	path   string
	paired bool
	// several names of the file came or went with it: which replaced which is a guess
	several bool
	at      fs.Stamp
	since   int64   // of one that waits: when it went at the earliest, 0 unknown
	attr    fs.Attr // of its inode when it went
	dir     uint64  // generation of the directory it was in
	seen    *early  // its coming was never told
}

// entries turns names that went and came into create, link, rename, unlink and
// delete. Removed paths are taken before the tree changes, added ones after.
func (c *classifier) entries() {
	t := c.v.names
	c.repaths()
	removed := c.outlived()
	for _, d := range c.tx.Removed {
		if t.once(d) {
			continue
		}
		if t.entries[d.Parent][d.Name] != d.Child && !t.rival(d) {
			c.v.left(d)
			continue // its going was foreseen, or it never was
		}
		if c.wasEarly(d) {
			t.remove(d)
			continue
		}
		removed = append(removed, gone{Dirent: d, path: t.at(d), at: c.tx.First, attr: c.was(d.Child)})
		c.named[d.Parent], c.named[d.Child] = true, true
	}
	for i := range removed {
		t.remove(removed[i].Dirent)
	}
	added := slices.DeleteFunc(slices.Clone(c.tx.Added), func(d fs.Dirent) bool {
		if t.entries[d.Parent][d.Name] != d.Child {
			return false
		}
		t.add(d)
		return true
	})
	for _, d := range added {
		t.add(d)
		c.named[d.Parent], c.named[d.Child] = true, true
	}
	by := map[fs.ID][]*gone{}
	for i := range removed {
		by[removed[i].Child] = append(by[removed[i].Child], &removed[i])
	}
	first := map[fs.ID]bool{}
	from := c.pairs(added, by)
	for i, d := range added {
		c.came(d, from[i], first, nil)
	}
	last := map[fs.ID]int{}
	for i := range removed {
		if !removed[i].paired {
			last[removed[i].Child] = i
		}
	}
	for i := range removed {
		if r := &removed[i]; !r.paired {
			c.went(r, last[r.Child] == i)
		}
	}
	for i := range c.tx.Inodes {
		c.arrived(c.tx.Inodes[i].ID, first)
	}
	for _, d := range added {
		c.arrived(d.Child, first)
	}
	for i := range removed {
		c.arrived(removed[i].Child, first)
	}
	c.orphans()
	c.places()
	c.replacements(removed)
}

// replacements ties a new inode at a path to the one it displaced: the way most
// programs change a file is to write another and rename it into place.
func (c *classifier) replacements(removed []gone) {
	old := map[string]*gone{}
	for i := range removed {
		if r := &removed[i]; !r.paired {
			old[r.path] = r
		}
	}
	for i := range c.out {
		e := &c.out[i]
		r := old[e.Path]
		if r == nil || e.Op != OpCreate && e.Op != OpRename && e.Op != OpLink {
			continue
		}
		id := r.Child
		e.ReplacedInode = id.Num
		if r.attr.Live && r.attr.MTime != fs.NoTime {
			e.MTimeOld = new(Time(r.attr.MTime))
		}
		if b := c.v.before[id]; b != nil && c.v.a.o.Hash && e.Type == "file" {
			c.against(e, b)
		}
	}
}

// against compares the file now at a path with the content displaced from it.
func (c *classifier) against(e *Event, b *digest) {
	attr, err := c.v.fs.Stat(e.id)
	if err != nil || attr.Type != fs.TypeFile {
		return
	}
	e.was, e.is = b, c.v.now(e.id, attr)
}

// came tells of a name that came, with what brought it if that was earlier, or has it
// wait.
func (c *classifier) came(d fs.Dirent, from *gone, first map[fs.ID]bool, w *early) {
	v, change := c.v, c.inodes[d.Child]
	if g, back := v.back(d); back {
		w = g.seen // it moved to another block of its directory
	}
	if top, yes := v.names.adrift(d.Parent); yes && !v.info.Journaled {
		c.await(top, d, "")
		return
	}
	attr := c.attr(d.Child, d.Type)
	if v.info.Apart && attr.Live && (ended(change) && !change.New.Live || !c.ripe && attr.Links == 0) {
		c.await(d.Child, d, "") // of the life to come
		return
	}
	if c.unborn(d, &attr, w) {
		c.await(d.Child, d, "")
		return
	}
	if birth := v.nameless[d.Child]; birth != nil && !ended(change) {
		c.born(d.Child, birth)
		change = c.inodes[d.Child]
	}
	path := v.names.at(d)
	if !fresh(change) && c.moved(d, path, attr, from) {
		return
	}
	switch {
	case fresh(change) && !first[d.Child]:
		first[d.Child] = true
		c.take(d)
		c.created(path, attr, change)
		c.placed(d)
	case c.stale(d, attr):
		c.await(d.Child, d, "")
	default:
		c.take(d)
		e := c.event(OpLink, path, attr)
		if change != nil && change.Old.Live && change.Old.Links == 0 {
			e.Notes = append(e.Notes, "the file had no name before")
		}
		delete(v.orphans, d.Child)
		c.add(e)
		c.placed(d)
	}
}

// moved reports whether the name is one that a file was renamed to, or waits to be
// known as such.
func (c *classifier) moved(d fs.Dirent, path string, attr fs.Attr, r *gone) bool {
	if r != nil {
		r.paired = true
		if c.rewritten(r, attr) || c.replaced(r) && attr.CTime != r.attr.CTime {
			c.take(d)
			c.renamed(r.path, path, attr)
			c.placed(d)
			if r.several {
				e := &c.out[len(c.out)-1]
				e.Notes = append(e.Notes, "the file got or lost other names in the same transaction: which replaced which does not reach the disk")
			}
			return true
		}
		if c.replaced(r) {
			c.tell(r, false)
		} else {
			c.wait(*r)
		}
		c.await(d.Child, d, r.path)
		return true
	}
	old, known, waits := c.other(d, attr)
	if waits {
		c.await(d.Child, d, old.path)
	} else if known {
		c.take(d)
		if old.path != path { // else it only moved within its directory, to another block
			c.renamed(old.path, path, attr)
			e := &c.out[len(c.out)-1]
			e.FirstRecord, e.since = min(e.FirstRecord, old.at.Seq), old.since
			c.placed(d)
		}
	}
	return known || waits
}

func (c *classifier) renamed(from, to string, attr fs.Attr) {
	e := c.event(OpRename, to, attr)
	e.OldPath = from
	c.add(e)
}

// born gives a file its birth in the transaction that brings its first name.
func (c *classifier) born(id fs.ID, birth *fs.InodeChange) {
	v := c.v
	now := *birth
	if change := c.inodes[id]; change != nil {
		now.New = change.New
		*change = now
	} else {
		c.inodes[id] = &now
	}
	delete(v.nameless, id)
}

func (c *classifier) created(path string, attr fs.Attr, change *fs.InodeChange) {
	e := c.event(makes(attr.Type), path, attr)
	if change.Old.Live {
		e.Notes = append(e.Notes, fmt.Sprintf("inode number reused: generation was %d", change.Old.Generation))
	}
	c.add(e)
	c.made[attr.ID] = true
}

// went tells of a removed name, or keeps it while it may be half of a rename.
func (c *classifier) went(r *gone, last bool) {
	if a := c.attr(r.Child, r.Type); !c.dead(r.Child) && c.half(r, a) {
		c.wait(*r)
		return
	}
	c.tell(r, last)
}

// dead reports whether the file that had a name is no more.
func (c *classifier) dead(id fs.ID) bool {
	change := c.inodes[id]
	if change == nil {
		_, err := c.v.fs.Stat(id)
		return err != nil
	}
	return ended(change) || change.Was != (fs.ID{}) && change.Was != id // what was at its place
}

// tell tells that a name is gone, and with the last one the file.
func (c *classifier) tell(r *gone, last bool) {
	if r.seen != nil {
		c.glimpsed(r)
		return
	}
	v, change := c.v, c.inodes[r.Child]
	attr, dead := c.attr(r.Child, r.Type), c.dead(r.Child)
	if change != nil && change.Displaced.Live {
		attr = change.Displaced
	} else if change != nil && change.Old.Live {
		attr = change.Old
		if !dead {
			attr = change.New
		}
	}
	op := OpUnlink
	if dead && last {
		op = OpDelete
		if attr.Type == fs.TypeDir {
			op = OpRmdir
		}
	}
	e := c.event(op, r.path, attr)
	e.FirstRecord, e.since = min(e.FirstRecord, r.at.Seq), r.since
	if op == OpDelete {
		e.was = cmp.Or(v.before[r.Child], v.known[r.Child])
	}
	if op == OpUnlink && !dead && len(v.names.of[r.Child]) == 0 {
		e.Notes = append(e.Notes, "not freed yet: still open, or the disk has not heard")
		v.orphans[r.Child] = r.path
	}
	if op == OpUnlink && !dead {
		v.spend(r, &attr)
	}
	c.add(e)
}

// orphans reports files that were open without a name and have now been freed.
func (c *classifier) orphans() {
	for i := range c.tx.Inodes {
		change := &c.tx.Inodes[i]
		path, ok := c.v.orphans[change.ID]
		if !ok || !ended(change) {
			continue
		}
		delete(c.v.orphans, change.ID)
		op := OpDelete
		if change.Old.Type == fs.TypeDir {
			op = OpRmdir
		}
		e := c.event(op, path, change.Old)
		e.Notes = append(e.Notes, "unlinked earlier; freed now")
		e.was = c.v.before[change.ID]
		c.add(e)
	}
}

// attr is what is known of an inode now, or was before it went.
func (c *classifier) attr(id fs.ID, typ fs.Type) fs.Attr {
	if change := c.inodes[id]; change != nil {
		if change.New.Live {
			return change.New
		}
		if change.Old.Live {
			return change.Old
		}
	}
	if a, err := c.v.fs.Stat(id); err == nil {
		return a
	}
	return fs.Attr{ID: id, Type: typ, ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime}
}

func (c *classifier) event(op Op, path string, a fs.Attr) Event {
	e := c.v.event(op, path, a)
	e.FirstRecord, e.LastRecord = c.tx.First.Seq, c.tx.Last.Seq
	e.Observed = c.v.a.clock.wall(c.tx.Last.Time)
	e.Transaction = c.tx.Number
	if a.Type == fs.TypeUnknown && !a.Live {
		e.Notes = append(e.Notes, "inode never captured: attributes unknown")
	}
	return e
}

func (c *classifier) add(e Event) {
	if c.ripe {
		e.Notes = append(e.Notes, unconfirmed)
	}
	switch e.Op {
	case OpLink, OpRename, OpUnlink, OpDelete:
		c.names[e.id]++
	}
	e.class = uint8(slices.Index(opOrder, e.Op))
	c.out = append(c.out, e)
}
