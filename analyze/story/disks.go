package story

import (
	"math"
	"slices"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/format"
)

// disk is one disk as it is followed.
type disk struct {
	def      *format.StreamDef
	a        *files.Analyzer
	whole    bool   // all is known that the tape will tell of its base
	settled  uint64 // the record that completed the base; 0 without a base, MaxUint64 when none ever did
	events   []files.Event
	cached   []*Evidence // of each event; nil where memory tells nothing
	compared int         // writes compared with what the latest snapshot has of them
}

// addDisk begins to follow a disk, or begins anew. Its base image is on the tape
// after the definition: until then, of a growing tape, nothing is known of what
// was on the disk before.
func (e *Engine) addDisk(def *format.StreamDef, final bool) error {
	at := slices.Index(e.order, def.ID)
	if at < 0 {
		at = len(e.order)
		e.order = append(e.order, def.ID)
	}
	t, err := e.tape.DiskOf(def.ID)
	if err != nil {
		return err
	}
	d := &disk{def: def, whole: final}
	var base format.Image
	switch i := t.Info; {
	case i != nil && i.End != nil:
		d.whole, d.settled = true, i.End.Seq
	case i != nil:
		d.settled = math.MaxUint64
	}
	o := files.Options{Disk: def.Name, Hash: true, Blocks: true}
	if d.whole {
		base, o.Copied = t.Base, t.Copied()
	}
	o.Emit = func(ev files.Event) {
		d.events = append(d.events, ev)
		d.cached = append(d.cached, e.cached(d, &ev))
	}
	o.Beside = func() []*files.Analyzer {
		var others []*files.Analyzer
		for _, id := range e.order {
			if x := e.disks[id]; x != nil && id != def.ID {
				others = append(others, x.a)
			}
		}
		return others
	}
	if e.o.Scratch != nil {
		o.Scratch = e.o.Scratch()
	}
	if d.a, err = files.New(def.Size, base, o); err != nil {
		e.problem(def.Name, err)
		e.order = slices.Delete(e.order, at, at+1)
		delete(e.disks, def.ID)
		return nil
	}
	e.disks[def.ID] = d
	return d.a.Feed(&e.tape.Reader().Anchors()[0])
}

// based begins anew with a disk whose base was not complete when it was met, up
// to record to.
func (e *Engine) based(d *disk, to uint64) error {
	if d.whole {
		return nil
	}
	if err := e.addDisk(d.def, true); err != nil {
		return err
	}
	if d = e.disks[d.def.ID]; d == nil {
		return nil
	}
	q := format.Query{Streams: []format.StreamID{0, d.def.ID}, FromSeq: d.def.Seq + 1, ToSeq: to}
	for r, err := range e.tape.Reader().Records(q) {
		if err != nil {
			continue // advance has told of it
		}
		if err := d.a.Feed(r); err != nil {
			return err
		}
	}
	return nil
}

// copying: the base image of the disk is being recorded. Until it is complete the
// disk is followed in its requests alone, and of that nothing is told: it would be
// taken back.
func (d *disk) copying() bool { return !d.whole && d.settled == math.MaxUint64 }

// FileEvents lists the changes on all disks, disk by disk, in the order in which
// they became known.
func (e *Engine) FileEvents() []files.Event {
	var all []files.Event
	for _, id := range e.order {
		all = append(all, e.disks[id].events...)
	}
	return all
}

// Disk is one disk of the tape as it was followed.
type Disk struct {
	Name   string
	State  *files.Tree // as it stands at the end of what was fed
	Events []files.Event
}

// Disks lists the disks that could be followed.
func (e *Engine) Disks() []Disk {
	var all []Disk
	for _, id := range e.order {
		d := e.disks[id]
		all = append(all, Disk{Name: d.def.Name, State: d.a.State(), Events: d.events})
	}
	return all
}
