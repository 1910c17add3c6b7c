package files

import (
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Touch implements fs.Sink: read the old content while it is there.
func (v *volumeState) Touch(id fs.ID) {
	v.overtaken(id)
	if !v.a.o.Hash {
		return
	}
	if v.before[id] != nil {
		delete(v.known, id) // what a size committed ahead of its content was told with
		return
	}
	attr, err := v.fs.Stat(id)
	if err != nil || attr.Type != fs.TypeFile {
		return
	}
	v.before[id] = v.now(id, attr)
	delete(v.known, id)
}

// now is the content of a file as it stands. It is read again only where it may have
// changed since it last was: without a journal that is everywhere, for a block may be a
// file's before the file that had it has let it go.
func (v *volumeState) now(id fs.ID, a fs.Attr) *digest {
	d := v.known[id]
	if d != nil && d.size == a.Size && d.generation == a.Generation {
		return d.retold(func() []byte { return v.text(id, a) })
	}
	if d = v.content(id, a); d.read && !v.info.Apart {
		v.known[id] = d
		v.fresh = append(v.fresh, id)
	}
	return d
}

// remember keeps of what was read no more than is needed to know it again.
func (v *volumeState) remember() {
	for _, id := range v.fresh {
		if d := v.known[id]; d != nil {
			v.known[id] = d.kept()
		}
	}
	v.fresh = v.fresh[:0]
}

// Problem implements fs.Sink.
func (v *volumeState) Problem(p fs.Problem) {
	q := Problem{Kind: problemKind(p.Kind), Record: p.At.Seq, Inode: p.ID.Num, Offset: p.Off, Length: p.Len, Text: p.Text}
	if p.ID != (fs.ID{}) {
		q.Path = v.names.path(p.ID)
	}
	switch {
	case p.Kind == fs.ProblemUnknown:
		v.unknown = true
	case p.Kind == fs.ProblemTamper && v.unknown:
		// What the volume held before was never wholly seen, as on a disk without a
		// base image: a transaction that was not seen may well have committed this.
		q.Kind, q.Text = problemKind(fs.ProblemUnknown), q.Text+" that was seen"
	case p.Kind == fs.ProblemTamper:
		v.a.findings.tamper(v, q, p.At)
	}
	v.problem(q)
}

func problemKind(k fs.ProblemKind) string {
	return [...]string{"unknown", "corrupt", "unsupported", "tamper", "torn"}[k]
}

// Commit implements fs.Sink.
func (v *volumeState) Commit(tx *fs.Tx) {
	came := len(tx.Data)
	tx.Data = slices.DeleteFunc(tx.Data, func(d fs.DataChange) bool {
		_, announced := v.awaited[d.ID]
		return d.Same && !announced // else it is what was written, though it was there already
	})
	v.lookAtTouches(tx.Last.Time)
	v.lookAtHalves(tx.Last.Time)
	first := v.settleDates(tx)
	if came > 0 && len(tx.Inodes)+len(tx.Data)+len(tx.Added)+len(tx.Removed)+len(tx.Told) == 0 {
		return // all of it waits
	}
	v.compareClocks(tx)
	c := v.classify(tx)
	c.first = first
	for i := range tx.Inodes {
		c.inodes[tx.Inodes[i].ID] = &tx.Inodes[i]
	}
	for i := range tx.Data {
		c.data[tx.Data[i].ID] = &tx.Data[i]
	}
	if tx.Incomplete != "" {
		v.problem(Problem{Kind: "torn", Record: tx.Last.Seq, Text: "transaction incomplete: " + tx.Incomplete})
	}
	c.entries()
	c.attributes()
	c.contents()
	c.testify()
	c.flush()
	for id := range v.before {
		if v.undated[id] != nil {
			continue // the content that took its place is still to be told of
		}
		// A size that was committed ahead of the content it counts: the content
		// from before that is still the old one when the rest arrives.
		if x := c.inodes[id]; x != nil && c.data[id] == nil && x.Old.Live && x.New.Size > x.Old.Size && !fresh(x) && !c.truncated(id) {
			continue
		}
		if c.inodes[id] != nil || c.data[id] != nil {
			delete(v.before, id)
		}
	}
	v.remember()
	if !v.marksTime(tx) {
		return
	}
	v.previous = 0
	if v.lastOK {
		v.previous = v.last
	}
	if tx.Time != fs.NoTime {
		v.last, v.lastOK = tx.Time, true
	} else if w := v.a.clock.wall(tx.Last.Time); w.Known() {
		v.last, v.lastOK = int64(w), true
	}
}

// marksTime: what comes later was done later, but for what the file system lets wait. A
// tree log holds what was synced and nothing else; a write below a journal holds what
// its maker wanted.
func (v *volumeState) marksTime(tx *fs.Tx) bool {
	return v.info.Lag > 0 || tx.Basis == fs.BasisCommit || tx.Basis == fs.BasisFastCommit
}

func (v *volumeState) classify(tx *fs.Tx) *classifier {
	return &classifier{v: v, tx: tx, inodes: map[fs.ID]*fs.InodeChange{}, data: map[fs.ID]*fs.DataChange{},
		named: map[fs.ID]bool{}, comers: map[int]fs.Dirent{}, made: map[fs.ID]bool{}, names: map[fs.ID]int{}}
}

// finish reports modifications whose content never arrived.
func (v *volumeState) finish() {
	if v.fs == nil {
		return
	}
	v.lookAtTouches(fs.EndOfTape)
	ids := make([]fs.ID, 0, len(v.awaited))
	for id := range v.awaited {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, fs.ID.Compare)
	for _, id := range ids {
		w := v.awaited[id]
		if attr, err := v.fs.Stat(id); err != nil || attr.Generation != w.attr.Generation || len(v.names.of[id]) == 0 {
			continue
		}
		e := v.event(OpWrite, w.path, w.attr)
		e.FirstRecord, e.LastRecord, e.Transaction = w.stamp.Seq, w.stamp.Seq, w.tx
		e.Observed = v.a.clock.wall(w.stamp.Time)
		e.TimeLower, e.TimeUpper, e.TimeBasis = Time(w.attr.MTime), Time(w.attr.MTime+max(tick, v.info.Grain)), BasisModify
		e.Notes = []string{"the content written had not reached the disk when the tape ended"}
		v.a.emit(e)
	}
	clear(v.awaited)
	for _, id := range slices.SortedFunc(maps.Keys(v.undated), fs.ID.Compare) {
		v.tellUndated(id)
	}
	v.finishTold()
	v.finishHalves()
}

// event fills what every event of an inode has.
func (v *volumeState) event(op Op, path string, a fs.Attr) Event {
	e := Event{
		Op: op, Path: path, Type: a.Type.String(), Inode: a.ID.Num, Subvolume: a.ID.Space, Generation: a.Generation,
		Disk: v.a.o.Disk, Volume: v.def.Name, Filesystem: v.info.Type, UUID: v.info.UUID,
		ATime: Unknown, MTime: Unknown, CTime: Unknown, BTime: Unknown, TimeLower: Unknown, TimeUpper: Unknown,
		Observed: Unknown, id: a.ID, vol: v,
	}
	if a.Type != fs.TypeUnknown {
		size, uid, gid := a.Size, a.UID, a.GID
		e.Size, e.UID, e.GID, e.Links, e.Target = &size, &uid, &gid, a.Links, a.Target
		e.Mode = Mode{a.Mode, true}
		e.ATime, e.MTime, e.CTime, e.BTime = Time(a.ATime), Time(a.MTime), Time(a.CTime), Time(a.BTime)
	}
	return e
}
