package files

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/volume"
)

// volumeState is a volume of the disk and the filesystem on it, if any. It is
// the Sink of that filesystem.
type volumeState struct {
	a     *Analyzer
	def   volume.Volume
	dev   *fs.Section
	fs    fs.Filesystem
	info  fs.Info
	names *names

	before  map[fs.ID]*digest // content before its first change since the last event
	known   map[fs.ID]*digest // content that was read and has not changed since
	fresh   []fs.ID           // of these, those with more than is kept
	orphans map[fs.ID]string  // open but unlinked: the path they had
	awaited map[fs.ID]awaited // modification seen in the inode, content not yet
	// Without a journal an inode may arrive before its name: what is known of it
	// waits here.
	nameless map[fs.ID]*fs.InodeChange
	early    map[fs.ID][]early // and a name before its inode
	moving   map[fs.ID][]gone  // names that went: likely halves of renames
	vacated  map[place]fs.ID   // where these were
	halves   []turn            // of early and moving, by when they came
	leaving  map[fs.ID][]place // names whose going was told and that are still to go
	spent    map[fs.ID]spent   // names that inodes still count
	held     map[fs.ID]*fs.DataChange
	behind   int64 // the least by which the tape's wall clock was seen to be ahead of the guest's
	compared bool  // there is such a time
	// Content that reached its place before the log said that the file changed, as on
	// XFS, where file data needs no transaction: the inode still has the time and size
	// of before.
	undated  map[fs.ID]*undated
	turns    []turn // of these, by when they came
	touches  []turn // of awaited, those that may be touches
	met      map[fs.ID]met
	stamped  map[fs.ID]stamp
	storing  bool           // Touch is for a write that is about to be stored
	wrote    map[fs.ID]Time // when content last arrived
	last     int64          // guest clock of the last transaction that marks time
	lastOK   bool
	previous int64 // and of the one before it; 0 if there was none
	unknown  bool  // bytes that were needed were never captured
	told     testimony
	journal  *volumeState // that the companion was found on
}

// awaited: mtime moved as a write moves it, the bytes are still in the guest's
// page cache.
type awaited struct {
	attr  fs.Attr
	path  string // that it had then
	stamp fs.Stamp
	tx    uint64
	touch *Event // what it was if none come
}

// layout reads partition tables and opens every volume.
func (a *Analyzer) layout(at fs.Stamp) {
	l := volume.Scan(a.disk, a.o.Disk)
	a.watch = l.Watch
	for _, text := range l.Problems {
		a.problem(Problem{Kind: "corrupt", Record: at.Seq, Text: text})
	}
	old := a.volumes
	a.volumes = nil
	for _, def := range l.Volumes {
		if v := same(old, def); v != nil {
			a.volumes = append(a.volumes, v)
			continue
		}
		v := &volumeState{a: a, def: def, dev: def.Open(a.disk)}
		a.volumes = append(a.volumes, v)
	}
	for _, v := range a.volumes {
		if v.fs == nil {
			v.open(at)
		}
	}
}

// same finds the volume that a new reading of the layout left as it was.
func same(old []*volumeState, def volume.Volume) *volumeState {
	for _, v := range old {
		if v.def.Name == def.Name && v.def.Size == def.Size && len(v.def.Segments) == len(def.Segments) && v.def.Holds == def.Holds {
			equal := true
			for i, s := range v.def.Segments {
				equal = equal && s == def.Segments[i]
			}
			if equal {
				return v
			}
		}
	}
	return nil
}

func (a *Analyzer) touchesLayout(w *fs.Write) bool {
	for _, r := range a.watch {
		if w.Off < r.Off+r.Len && r.Off < w.Off+w.Len {
			return true
		}
	}
	return false
}

// relayout looks again at what the disk is divided into after a write to a
// table, a header or the start of a volume.
func (a *Analyzer) relayout(at fs.Stamp) {
	a.layout(at)
	for _, v := range a.volumes {
		v.reprobe(at)
	}
}

// open probes the volume and indexes what it holds.
func (v *volumeState) open(at fs.Stamp) {
	if v.def.Opaque != "" {
		if at == (fs.Stamp{}) && v.def.Holds != "swap" && v.def.Holds != "lvm2-pv" {
			v.problem(Problem{Kind: "unsupported", Record: at.Seq, Text: v.def.Opaque})
		}
		return
	}
	f, err := probe(v.dev, fs.Options{Companion: v.companion})
	if err != nil {
		if errors.Is(err, fs.ErrJournal) {
			return // followed with the filesystem it serves
		}
		if !errors.Is(err, fs.ErrNotFound) {
			v.problem(Problem{Kind: "unsupported", Record: at.Seq, Text: err.Error()})
		} else if at == (fs.Stamp{}) && !v.dev.Known(0, min(v.dev.Size(), 8192)) {
			v.problem(Problem{Kind: "unknown", Text: "start of the volume never captured: what it holds is unknown until it is written"})
		}
		return
	}
	v.attach(f)
	if err := f.Crawl(crawler{v, at}); err != nil {
		v.problem(Problem{Kind: "corrupt", Record: at.Seq, Text: err.Error()})
	}
	if f.Info().Tells {
		v.told.expect()
	}
}

func (v *volumeState) attach(f fs.Filesystem) {
	v.fs, v.info = f, f.Info()
	v.register()
	v.names = newNames(v.info.Root)
	v.before, v.known = map[fs.ID]*digest{}, map[fs.ID]*digest{}
	v.orphans, v.awaited = map[fs.ID]string{}, map[fs.ID]awaited{}
	v.nameless, v.held = map[fs.ID]*fs.InodeChange{}, map[fs.ID]*fs.DataChange{}
	v.wrote = map[fs.ID]Time{}
	v.turns, v.touches = nil, nil
	v.undated, v.met = map[fs.ID]*undated{}, map[fs.ID]met{}
	v.stamped = map[fs.ID]stamp{}
	v.early, v.spent = map[fs.ID][]early{}, map[fs.ID]spent{}
	v.compared = false
	v.moving, v.leaving = map[fs.ID][]gone{}, map[fs.ID][]place{}
	v.vacated, v.halves = map[place]fs.ID{}, nil
	v.lastOK, v.told = false, testimony{}
}

// reprobe replaces the filesystem when another was made over it.
func (v *volumeState) reprobe(at fs.Stamp) {
	if v.def.Opaque != "" || v.fs == nil {
		return
	}
	now := signature(v.dev)
	if now == "" || now == v.info.Type+" "+v.info.UUID {
		return
	}
	v.problem(Problem{Kind: "corrupt", Record: at.Seq, Text: fmt.Sprintf("%s %s was replaced by %s", v.info.Type, v.info.UUID, now)})
	v.fs = nil
	v.open(at)
}

func (v *volumeState) prepare(w *fs.Write) {
	if v.fs != nil {
		v.storing = true
		v.fs.Prepare(w, v)
		v.storing = false
	}
}

func (v *volumeState) apply(w *fs.Write) {
	if v.fs != nil {
		v.fs.Apply(w, v)
	}
}

func (v *volumeState) problem(p Problem) {
	p.Volume = v.def.Name
	v.a.problem(p)
}

// crawler receives the index of a base.
type crawler struct {
	v  *volumeState
	at fs.Stamp
}

// Inode implements fs.Visitor; attributes are read when asked for.
func (c crawler) Inode(fs.Attr) {}

// Link implements fs.Visitor.
func (c crawler) Link(d fs.Dirent) { c.v.names.add(d) }

// Problem implements fs.Visitor.
func (c crawler) Problem(p fs.Problem) {
	if p.At == (fs.Stamp{}) {
		p.At = c.at
	}
	c.v.Problem(p)
}
