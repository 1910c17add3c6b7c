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
	named  map[fs.ID]bool // had an entry come or go
	deltas map[fs.ID]int  // events of the inode in this transaction
	first  map[fs.ID]bool // content came before the inode that dates it
	late   bool           // and the inode never came
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
}

// repath gives a name that went earlier and is not told of yet the path it has
// before this transaction: its directory may have been renamed since.
func (c *classifier) repath(id fs.ID) {
	g, ok := c.v.moving[id]
	if !ok {
		return
	}
	if _, adrift := c.v.names.adrift(g.Parent); !adrift {
		g.path = c.v.names.at(g.Dirent)
		c.v.moving[id] = g
	}
}

// entries turns names that went and came into create, link, rename, unlink and
// delete. Removed paths are taken before the tree changes, added ones after.
func (c *classifier) entries() {
	t := c.v.names
	for i := range c.tx.Inodes {
		c.repath(c.tx.Inodes[i].ID)
	}
	for _, d := range c.tx.Added {
		c.repath(d.Child)
	}
	removed := make([]gone, 0, len(c.tx.Removed))
	for _, d := range c.tx.Removed {
		if t.entries[d.Parent][d.Name] != d.Child {
			delete(c.v.leaving, key(d))
			continue // its going was foreseen, or it never was
		}
		if c.wasEarly(d) {
			t.remove(d)
			continue
		}
		removed = append(removed, gone{Dirent: d, path: t.at(d), at: c.tx.First})
		c.named[d.Parent], c.named[d.Child] = true, true
	}
	for i := range removed {
		t.remove(removed[i].Dirent)
	}
	added := slices.DeleteFunc(slices.Clone(c.tx.Added), func(d fs.Dirent) bool { return t.entries[d.Parent][d.Name] == d.Child })
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
		c.came(d, from[i], first)
	}
	for i := range c.tx.Inodes {
		c.arrived(c.tx.Inodes[i].ID, first)
	}
	for _, d := range added {
		c.arrived(d.Child, first)
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
	c.orphans()
	c.replacements(removed)
}

// replacements ties a new inode at a path to the one it displaced: the way most
// programs change a file is to write another and rename it into place.
func (c *classifier) replacements(removed []gone) {
	old := map[string]fs.ID{}
	for i := range removed {
		if r := &removed[i]; !r.paired {
			old[r.path] = r.Child
		}
	}
	for i := range c.out {
		e := &c.out[i]
		id, ok := old[e.Path]
		if !ok || e.Op != OpCreate && e.Op != OpRename && e.Op != OpLink {
			continue
		}
		e.ReplacedInode = id.Num
		if b := c.v.before[id]; b != nil && c.v.a.o.Hash && e.Type == "file" {
			c.against(e, b)
		}
	}
}

// against compares the file now at a path with the content displaced from it.
func (c *classifier) against(e *Event, b *before) {
	attr, err := c.v.fs.Stat(e.id)
	if err != nil || attr.Type != fs.TypeFile {
		return
	}
	now := c.v.read(e.id, attr)
	e.SHA256Old, e.EntropyOld, e.MagicOld = b.sha, b.entropyOf(), b.magic
	e.SHA256New, e.MagicNew = now.sha, now.magic
	if b.text != nil && now.text != nil {
		e.Diff = unified(e.Path, b.text, now.text)
	}
}

func (c *classifier) came(d fs.Dirent, from *gone, first map[fs.ID]bool) {
	v, change := c.v, c.inodes[d.Child]
	if top, yes := v.names.adrift(d.Parent); yes && !v.info.Journaled {
		c.await(top, d)
		return
	}
	if w := v.nameless[d.Child]; w != nil && !ended(change) {
		c.born(d.Child, w)
		change = c.inodes[d.Child]
	}
	if held := v.held[d.Child]; held != nil {
		c.tx.Data = append(c.tx.Data, *held)
		delete(v.held, d.Child)
	}
	attr := c.attr(d.Child, d.Type)
	path := v.names.at(d)
	if !fresh(change) {
		if from != nil {
			from.paired = true
			c.renamed(from.path, path, attr)
			if from.several {
				e := &c.out[len(c.out)-1]
				e.Notes = append(e.Notes, "the file got or lost other names in the same transaction: which replaced which does not reach the disk")
			}
			return
		}
		if old, ok := c.other(d, attr); ok {
			if old != path { // else it only moved within its directory, to another block
				c.renamed(old, path, attr)
			}
			return
		}
	}
	switch {
	case fresh(change) && !first[d.Child]:
		first[d.Child] = true
		c.created(path, attr, change)
	case c.stale(d, attr):
		c.await(d.Child, d)
	default:
		e := c.event(OpLink, path, attr)
		if change != nil && change.Old.Live && change.Old.Links == 0 {
			e.Notes = append(e.Notes, "the file had no name before")
		}
		delete(v.orphans, d.Child)
		c.add(e)
	}
}

func (c *classifier) renamed(from, to string, attr fs.Attr) {
	e := c.event(OpRename, to, attr)
	e.OldPath = from
	c.add(e)
}

// other finds the other half of a rename that reaches the disk in two parts, as
// it can without a journal: a name that went before, or a directory's old name,
// which must still go because a directory has only one.
func (c *classifier) other(d fs.Dirent, a fs.Attr) (string, bool) {
	v := c.v
	if old, ok := v.moving[d.Child]; ok {
		delete(v.moving, d.Child)
		return old.path, true
	}
	names := v.names.of[d.Child]
	if v.info.Journaled || !a.Live || len(names) < 2 || a.Type != fs.TypeDir {
		return "", false
	}
	for _, p := range names {
		if p.parent != d.Parent || p.name != d.Name {
			old := fs.Dirent{Parent: p.parent, Name: p.name, Child: d.Child}
			path := v.names.at(old)
			v.names.remove(old)
			v.leaving[old] = path
			return path, true
		}
	}
	return "", false
}

func key(d fs.Dirent) fs.Dirent {
	d.Type = fs.TypeUnknown
	return d
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
	op := OpCreate
	switch attr.Type {
	case fs.TypeDir:
		op = OpMkdir
	case fs.TypeSymlink:
		op = OpSymlink
	}
	e := c.event(op, path, attr)
	if change.Old.Live {
		e.Notes = append(e.Notes, fmt.Sprintf("inode number reused: generation was %d", change.Old.Generation))
	}
	c.add(e)
}

func (c *classifier) went(r *gone, last bool) {
	v, change := c.v, c.inodes[r.Child]
	attr := c.attr(r.Child, r.Type)
	if change != nil && change.Old.Live {
		attr = change.Old
		if !ended(change) {
			attr = change.New
		}
	}
	_, err := v.fs.Stat(r.Child)
	dead := ended(change) || change == nil && err != nil
	op := OpUnlink
	if dead && last {
		op = OpDelete
		if attr.Type == fs.TypeDir {
			op = OpRmdir
		}
	}
	_, replaced := v.names.entries[r.Parent][r.Name]
	if op == OpUnlink && !v.info.Journaled && !dead && !replaced && len(v.names.of[r.Child]) == 0 && attr.Links > 0 {
		v.moving[r.Child] = *r
		return
	}
	e := c.event(op, r.path, attr)
	if b := v.before[r.Child]; b != nil && op == OpDelete {
		e.SHA256Old, e.EntropyOld, e.MagicOld = b.sha, b.entropyOf(), b.magic
	} else if op == OpDelete {
		e.SHA256Old = v.hashes[r.Child]
	}
	if op == OpUnlink && !dead && len(v.names.of[r.Child]) == 0 {
		e.Notes = append(e.Notes, "not freed yet: still open, or the disk has not heard")
		v.orphans[r.Child] = r.path
	}
	c.add(e)
}

// orphans reports files that were open without a name and have now been freed.
func (c *classifier) orphans() {
	for i := range c.tx.Inodes {
		change := &c.tx.Inodes[i]
		path, ok := c.v.orphans[change.ID]
		moved, moving := c.v.moving[change.ID]
		if !ok && !moving || !ended(change) {
			continue
		}
		delete(c.v.orphans, change.ID)
		delete(c.v.moving, change.ID)
		if moving {
			path = moved.path
		}
		op := OpDelete
		if change.Old.Type == fs.TypeDir {
			op = OpRmdir
		}
		e := c.event(op, path, change.Old)
		if ok {
			e.Notes = append(e.Notes, "unlinked earlier; freed now")
		}
		if b := c.v.before[change.ID]; b != nil {
			e.SHA256Old = b.sha
		}
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
	c.deltas[e.id]++
	e.class = uint8(slices.Index(opOrder, e.Op))
	c.out = append(c.out, e)
}

// opOrder breaks ties in time: things come before they change, and change before
// they go.
var opOrder = []Op{OpMkdir, OpCreate, OpSymlink, OpLink, OpRename, OpTruncate, OpWrite, OpChmod, OpChown, OpSetxattr, OpUtime, OpUnlink, OpDelete, OpRmdir}

// flush times and orders the events and lets them go.
func (c *classifier) flush() {
	for i := range c.out {
		if c.out[i].told == 0 {
			c.interval(&c.out[i])
		}
	}
	slices.SortStableFunc(c.out, func(a, b Event) int {
		return cmp.Or(cmp.Compare(max(a.TimeLower, a.by), max(b.TimeLower, b.by)), cmp.Compare(a.told, b.told), cmp.Compare(a.class, b.class), cmp.Compare(a.Path, b.Path))
	})
	for _, e := range c.out {
		c.v.a.emit(e)
	}
}
