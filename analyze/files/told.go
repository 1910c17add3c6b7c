package files

import (
	"fmt"
	"math"
	"path"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	// maxTold bounds what a volume's change journal may have told that the metadata
	// has not shown, and what of the metadata it has not told.
	maxTold = 1 << 16
	// maxClimb bounds the directories of a path that only the change journal knows.
	maxClimb = 64
)

// object is one life of an inode number.
type object struct {
	num, gen uint64
}

// testimony joins what a volume's change journal tells with what its metadata shows.
// Either may reach the disk first. What was told waits until the metadata shows it,
// and gives that event its time; what cannot show any more, because a later change
// replaced it, is told on the journal's word alone.
type testimony struct {
	on      bool // the volume has such a journal
	waiting map[object][]fs.Told
	order   []object // by when they were first told of
	count   int
	dropped int                 // told when too many waited
	places  map[uint64][]placed // of directories, by number, in the journal's order
	known   int
	shown   map[shown]int64 // events the journal has not told yet: tape time
	since   []shown
}

// placed is where a directory was from one record of the journal on.
type placed struct {
	number      uint64
	at, earlier place
}

// shown is an event the journal has yet to tell.
type shown struct {
	object
	op   fs.ToldOp
	name string
}

// kinds are the operations a journal may name an event by.
func kinds(op Op) []fs.ToldOp {
	switch op {
	case OpCreate, OpMkdir, OpSymlink:
		return []fs.ToldOp{fs.ToldCreate}
	case OpDelete, OpRmdir:
		return []fs.ToldOp{fs.ToldDelete}
	case OpRename:
		return []fs.ToldOp{fs.ToldRename}
	case OpLink, OpUnlink:
		return []fs.ToldOp{fs.ToldLink}
	case OpWrite:
		return []fs.ToldOp{fs.ToldWrite, fs.ToldTruncate}
	case OpTruncate:
		return []fs.ToldOp{fs.ToldTruncate, fs.ToldWrite}
	case OpUtime, OpChmod:
		return []fs.ToldOp{fs.ToldInfo}
	}
	return nil
}

// named reports whether operations of that kind are told apart by the name.
func named(op fs.ToldOp) bool { return op == fs.ToldRename || op == fs.ToldLink }

// testify takes in what the transaction tells, ties it to the events that show it,
// and adds events for what nothing else will show.
func (c *classifier) testify() {
	w := &c.v.told
	for _, t := range c.tx.Told {
		w.hear(t)
	}
	if !w.on {
		return
	}
	for i := range c.out {
		c.linked(i)
	}
	for i := range c.out {
		c.tie(&c.out[i])
	}
	late := c.tx.Last.Time - c.v.info.Lag
	for _, t := range c.tx.Told {
		c.alone(object{t.ID.Num, t.Generation}, late)
	}
	for i := range c.out {
		c.alone(object{c.out[i].id.Num, c.out[i].Generation}, late)
	}
	for len(w.order) > 0 {
		if list := w.waiting[w.order[0]]; len(list) > 0 && list[0].At.Time >= late {
			break
		}
		o := w.order[0]
		c.alone(o, late)
		if w.order = w.order[1:]; len(w.waiting[o]) > 0 {
			w.order = append(w.order, o)
		}
	}
	w.prune(late)
}

// expect says that the volume has a change journal.
func (w *testimony) expect() {
	if !w.on {
		w.on, w.waiting, w.places, w.shown = true, map[object][]fs.Told{}, map[uint64][]placed{}, map[shown]int64{}
	}
}

// hear files one told operation, unless an event has shown it already.
func (w *testimony) hear(t fs.Told) {
	w.expect()
	o := object{t.ID.Num, t.Generation}
	list := w.waiting[o]
	if t.Time == fs.NoTime { // ranges of the write told last
		if k := len(list) - 1; k >= 0 && list[k].Op <= fs.ToldTruncate && list[k].Op >= fs.ToldWrite {
			list[k].Ranges = append(list[k].Ranges, t.Ranges...)
		}
		return
	}
	if t.Type == fs.TypeDir && (t.Op == fs.ToldCreate || t.Op == fs.ToldRename) && w.known < maxTold {
		w.known++
		w.places[o.num] = append(w.places[o.num], placed{t.Number, place{t.Parent, t.Name}, place{t.OldParent, t.OldName}})
	}
	s := shown{object: o, op: t.Op}
	if named(t.Op) {
		s.name = t.Name
	}
	if _, ok := w.shown[s]; ok {
		delete(w.shown, s)
		return
	}
	if w.count >= maxTold {
		w.dropped++
		return
	}
	if len(list) == 0 {
		w.order = append(w.order, o)
	}
	w.keep(o, append(list, t))
}

// tie gives an event the journal's time for it.
func (c *classifier) tie(e *Event) {
	w := &c.v.told
	o := object{e.id.Num, e.Generation}
	for _, op := range kinds(e.Op) {
		list := w.waiting[o]
		// Of repeated writes the event shows the last.
		for k := len(list) - 1; k >= 0; k-- {
			t := list[k]
			if t.Op != op || named(op) && t.Name != path.Base(e.Path) {
				continue
			}
			c.dated(e, &t)
			if e.Op == OpRename {
				e.OldPath = c.toldPath(t.OldParent, t.OldName, t.Number)
			} else if op == fs.ToldCreate || op == fs.ToldDelete {
				e.Path = c.toldPath(t.Parent, t.Name, t.Number)
			}
			w.keep(o, slices.Delete(list, k, k+1))
			c.superseded(o, op, k)
			return
		}
	}
	for _, op := range kinds(e.Op) {
		s := shown{object: o, op: op}
		if named(op) {
			s.name = path.Base(e.Path)
		}
		if len(w.shown) < maxTold {
			w.shown[s] = c.tx.Last.Time
			w.since = append(w.since, s)
		}
	}
}

// linked takes apart what looks like a rename and was, by the journal, a name made
// and another removed.
func (c *classifier) linked(i int) {
	e := &c.out[i]
	if e.Op != OpRename {
		return
	}
	made, took := false, false
	for _, t := range c.v.told.waiting[object{e.id.Num, e.Generation}] {
		if t.Op == fs.ToldRename {
			return
		}
		made = made || t.Op == fs.ToldLink && t.Name == path.Base(e.Path)
		took = took || t.Op == fs.ToldLink && t.Name == path.Base(e.OldPath)
	}
	if !made || !took {
		return
	}
	gone := *e
	gone.Op, gone.Path, gone.OldPath = OpUnlink, e.OldPath, ""
	e.Op, e.OldPath = OpLink, ""
	e.class = uint8(slices.Index(opOrder, e.Op))
	c.add(gone)
}

// dated takes time, reason and evidence from what was told.
func (c *classifier) dated(e *Event, t *fs.Told) {
	e.TimeLower, e.TimeUpper, e.TimeBasis = Time(t.Time), Time(t.Time), t.Source
	e.Reason, e.told = t.Reason, t.Number+1
	if t.At.Seq != 0 {
		e.FirstRecord, e.LastRecord = min(e.FirstRecord, t.At.Seq), max(e.LastRecord, t.At.Seq)
	}
}

// alone tells what is left of one life and will not be shown any more: all of it when
// it began and ended within the journal, names that it has changed again since, and
// what was told before late.
func (c *classifier) alone(o object, late int64) {
	w := &c.v.told
	list := w.waiting[o]
	begun := slices.IndexFunc(list, func(t fs.Told) bool { return t.Op == fs.ToldCreate })
	ended := slices.IndexFunc(list, func(t fs.Told) bool { return t.Op == fs.ToldDelete })
	whole := begun >= 0 && ended > begun
	reached := false
	var left []fs.Told
	for k := len(list) - 1; k >= 0; k-- {
		t := &list[k]
		reached = reached || t.Op == fs.ToldRename && c.reached(t)
		if whole || t.At.Time < late || t.Op == fs.ToldRename && reached {
			c.word(t)
			continue
		}
		left = append(left, *t)
	}
	slices.Reverse(left)
	w.keep(o, left)
}

// superseded tells of what came before the k-th of what waited, which has shown: of
// names that it replaced, and once the file is gone of everything.
func (c *classifier) superseded(o object, by fs.ToldOp, k int) {
	list := c.v.told.waiting[o]
	var left []fs.Told
	for i := range list {
		if i < k && (by == fs.ToldDelete || by == fs.ToldRename && list[i].Op == fs.ToldRename) {
			c.word(&list[i])
			continue
		}
		left = append(left, list[i])
	}
	c.v.told.keep(o, left)
}

// keep replaces what waits of one life.
func (w *testimony) keep(o object, list []fs.Told) {
	w.count += len(list) - len(w.waiting[o])
	if w.waiting[o] = list; len(list) == 0 {
		delete(w.waiting, o)
	}
}

// reached reports whether the metadata shows what a rename led to, or that it is over.
func (c *classifier) reached(t *fs.Told) bool {
	if a, err := c.v.fs.Stat(t.ID); err != nil || a.Generation != t.Generation {
		return len(c.v.names.of[t.ID]) == 0 && c.inodes[t.ID] != nil
	}
	return slices.Contains(c.v.names.of[t.ID], place{t.Parent, t.Name})
}

// word is an event on the journal's word alone.
func (c *classifier) word(t *fs.Told) {
	ops := map[fs.ToldOp]Op{fs.ToldCreate: OpCreate, fs.ToldDelete: OpDelete, fs.ToldRename: OpRename, fs.ToldWrite: OpWrite, fs.ToldTruncate: OpTruncate}
	op, ok := ops[t.Op]
	if !ok {
		return // of an attribute or a further name the journal does not say what became of it
	}
	if t.Type == fs.TypeDir {
		switch op {
		case OpCreate:
			op = OpMkdir
		case OpDelete:
			op = OpRmdir
		}
	}
	unknown := fs.Attr{ID: t.ID, Generation: t.Generation, ATime: fs.NoTime, MTime: fs.NoTime, CTime: fs.NoTime, BTime: fs.NoTime}
	e := c.v.event(op, c.toldPath(t.Parent, t.Name, t.Number), unknown)
	e.Type, e.Ranges = t.Type.String(), t.Ranges
	if op == OpRename {
		e.OldPath = c.toldPath(t.OldParent, t.OldName, t.Number)
	}
	e.FirstRecord, e.LastRecord = t.At.Seq, t.At.Seq
	e.Observed = c.v.a.clock.wall(t.At.Time)
	c.dated(&e, t)
	e.Notes = append(e.Notes, "told by the change journal alone: no file record showed it")
	c.add(e)
}

// toldPath is the path that a name had when the journal told of it: its directories
// may have been renamed since, or never have been on the disk.
func (c *classifier) toldPath(parent fs.ID, name string, number uint64) string {
	v, tail := c.v, name
	for range maxClimb {
		if parent == v.info.Root {
			return "/" + tail
		}
		p, ok := v.told.place(parent.Num, number)
		if ps := v.names.of[parent]; !ok && len(ps) > 0 {
			p, ok = ps[len(ps)-1], true
		}
		if !ok {
			break
		}
		parent, tail = p.parent, p.name+"/"+tail
	}
	return fmt.Sprintf("<inode %v>/%s", parent, tail)
}

// place is where a directory was at one record of the journal, if that tells.
func (w *testimony) place(num, number uint64) (place, bool) {
	ps := w.places[num]
	for k := len(ps) - 1; k >= 0; k-- {
		if ps[k].number <= number {
			return ps[k].at, true
		}
	}
	if len(ps) > 0 && ps[0].earlier.name != "" {
		return ps[0].earlier, true
	}
	return place{}, false
}

// prune forgets events that the journal should have told of before late.
func (w *testimony) prune(late int64) {
	for len(w.since) > 0 {
		at, ok := w.shown[w.since[0]]
		if ok && at >= late {
			return
		}
		delete(w.shown, w.since[0])
		w.since = w.since[1:]
	}
}

// finishTold tells what the metadata never showed.
func (v *volumeState) finishTold() {
	if n := v.told.dropped; n > 0 {
		v.problem(Problem{Kind: problemKind(fs.ProblemUnknown), Record: v.a.lastOp.Seq, Text: fmt.Sprintf("%d entries of the change journal were not kept: too many waited for the metadata to show them", n)})
		v.told.dropped = 0
	}
	c := v.classify(&fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime, First: v.a.lastOp, Last: v.a.lastOp})
	for _, o := range v.told.order {
		c.alone(o, math.MaxInt64)
	}
	c.flush()
}
