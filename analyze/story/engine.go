package story

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Options say how a tape is analyzed.
type Options struct {
	Symbols         []byte // BTF or ISF of the guest's kernel, for kernels without types
	IgnoreChecksums bool
	Rules           []*Rule
	Workers         int  // of the packet analysis; see network.Options
	NoDisks         bool // leave the disks out: only processes and connections are joined
	// Scratch, if not nil, gives each disk a place for written blocks that should not
	// stay on the heap; see files.Options.
	Scratch func() files.Scratch
}

// Engine runs all analyzers over one tape, in tape order. Fed a growing tape, it
// says in the end what it says of the finished one.
type Engine struct {
	tape  *replay.Tape
	o     Options
	procs *process.Analyzer
	net   *network.Analyzer
	disks map[format.StreamID]*disk
	order []format.StreamID

	snaps     []Snapshot
	next      uint64 // sequence number of the first record that was not fed
	upTo      uint64 // no record after this is looked at yet; 0: all that are settled
	problems  []Problem
	clock     *GuestClock
	boot      int64
	recovered []Recovered
	heard     [2]int64 // tape time of the first definition of an interface, and of the last record up to which none is missing
	cache     pageCache
}

// Problem is something that could not be looked at.
type Problem struct {
	Stream string `json:"stream"`
	Reason string `json:"reason"`
}

// NewEngine prepares the analysis of a tape.
func NewEngine(t *replay.Tape, o Options) *Engine {
	return &Engine{tape: t, o: o, next: 1,
		procs: process.New(process.Options{Symbols: o.Symbols}),
		net: network.New(network.Options{Content: true, FileBlocks: !o.NoDisks, Streams: !o.NoDisks,
			IgnoreChecksums: o.IgnoreChecksums, Workers: o.Workers, RealtimeOffset: t.Clock().WallOffset()}),
		disks: map[format.StreamID]*disk{}}
}

// Run analyzes the tape and returns its story. progress, if not nil, is called
// now and then with the number of the record reached.
func (e *Engine) Run(progress func(seq uint64)) (*Story, error) {
	if err := e.advance(true, progress); err != nil {
		return nil, err
	}
	return e.tell(true)
}

// Follow analyzes what has come to a growing tape since the last call and tells
// the story as far as it goes; no record is read twice. final says that nothing
// more will come: then it is the story that Run tells of the whole tape.
func (e *Engine) Follow(final bool) (*Story, error) {
	if err := e.advance(final, nil); err != nil {
		return nil, err
	}
	return e.tell(final)
}

// advance feeds the records that have not been fed.
func (e *Engine) advance(final bool, progress func(seq uint64)) error {
	settled := e.tape.Reader().Settled()
	q := format.Query{FromSeq: e.next, ToSeq: settled}
	if e.upTo != 0 {
		q.ToSeq = min(q.ToSeq, e.upTo)
	}
	switch {
	case final && !e.tape.Reader().Sealed():
		q.ToSeq = 0 // of a tape that was cut off each stream goes as far as it goes
	case q.ToSeq < q.FromSeq:
		return nil
	}
	n := 0
	for r, err := range e.tape.Reader().Records(q) {
		if n++; n%4096 == 0 && progress != nil {
			progress(e.next)
		}
		if err != nil {
			e.problem("tape", err)
			continue
		}
		if end, ok := r.(*format.SnapshotEnd); ok && !final && !e.dated(end) {
			return nil
		}
		h := r.Header()
		if h.Seq <= settled {
			e.heard[1] = max(e.heard[1], h.Time)
		}
		if err := e.feed(r, final); err != nil {
			return err
		}
		e.next = h.Seq + 1
	}
	return nil
}

// dated: the wall-clock time of a snapshot will not change any more. It lies
// between two anchors of the tape, of which the later may still be to come.
func (e *Engine) dated(end *format.SnapshotEnd) bool {
	as := e.tape.Reader().Anchors()
	_, known := e.tape.Clock().Realtime(end.Time)
	return !known || as[len(as)-1].Time >= max(end.CopyEnd, end.PauseDone)
}

func (e *Engine) problem(stream string, err error) {
	e.problems = append(e.problems, Problem{stream, err.Error()})
}

// unfinished notes what a recording that was cut off leaves unknown.
func (e *Engine) unfinished() {
	if !e.tape.Reader().Sealed() {
		e.problem("tape", errors.New(replay.NotSealed))
	}
	defs := e.streams()
	for _, s := range e.tape.Reader().Snapshots() {
		switch def := defs[s.Begin.Stream]; {
		case s.End != nil:
		case def.Kind == format.StreamDisk:
			e.problem(def.Name, errors.New("its base image was never finished: paths and old content are unknown where it ends"))
		default:
			e.problem(orDefault(def.Name, "memory"), fmt.Errorf("snapshot begun at record %d was never finished and was not looked at", s.Begin.Seq))
		}
	}
}

// streams are the definitions on the tape, also those that no record was read after.
func (e *Engine) streams() map[format.StreamID]format.StreamDef {
	defs := map[format.StreamID]format.StreamDef{}
	for _, d := range e.tape.Reader().Streams() {
		defs[d.ID] = d
	}
	return defs
}

// Problems lists what could not be looked at.
func (e *Engine) Problems() []Problem { return e.problems }

// Processes, Network and Disks give the analyzers, for outputs that show more
// than the story.
func (e *Engine) Processes() *process.Analyzer { return e.procs }

// Network gives the analyzer of packets.
func (e *Engine) Network() *network.Analyzer { return e.net }

func (e *Engine) feed(r format.Record, final bool) error {
	h := r.Header()
	if err := e.net.Feed(r); err != nil {
		return err
	}
	switch r := r.(type) {
	case *format.StreamDef:
		if r.Kind == format.StreamNetwork && e.heard[0] == 0 {
			e.heard[0] = h.Time
		}
		if r.Kind == format.StreamDisk && !e.o.NoDisks {
			return e.addDisk(r, final)
		}
		return nil
	case *format.Anchor:
		for _, id := range e.order {
			if err := e.disks[id].a.Feed(r); err != nil {
				return err
			}
		}
		return nil
	case *format.SnapshotBegin:
		if d := e.disks[h.Stream]; d != nil && !d.whole {
			d.settled = math.MaxUint64
		}
		return nil
	case *format.SnapshotEnd:
		if d := e.disks[h.Stream]; d != nil {
			return e.based(d, h.Seq) // its base
		}
		return e.snapshot(r)
	}
	if d := e.disks[h.Stream]; d != nil {
		return d.a.Feed(r)
	}
	return nil
}

// snapshot looks at the processes when a memory snapshot is complete.
func (e *Engine) snapshot(end *format.SnapshotEnd) error {
	for _, i := range e.tape.Snapshots() {
		if i.ID != end.ID {
			continue
		}
		m, err := e.tape.Memory(i.Snapshot)
		if err != nil {
			e.problem("memory", err)
			return nil
		}
		if err := e.procs.Feed(m); err != nil {
			e.problem("memory", err)
		}
		e.snaps = append(e.snaps, Snapshot{Number: i.Snapshot, Time: i.Time, Realtime: i.Realtime, First: i.First, Last: i.Last,
			Paused: i.Conditions.Paused && !i.Conditions.Fuzzy, Processes: e.procs.At(i.Snapshot)})
		e.compareClocks(i)
		e.recover(&e.snaps[len(e.snaps)-1])
		e.cache.begin(&e.snaps[len(e.snaps)-1])
		for _, d := range e.disks {
			d.compared = 0
		}
	}
	return nil
}

// tell makes the story of what has been fed.
func (e *Engine) tell(final bool) (*Story, error) {
	if err := e.finish(final); err != nil {
		return nil, err
	}
	in := &Input{Snapshots: e.snaps, Processes: e.procs.Processes(), Names: map[string][]string{}, Realtime: e.tape.Clock().Realtime}
	for c := range e.net.Conns() {
		in.Conns = append(in.Conns, c)
		in.Names[c.UID] = peerNames(c)
	}
	in.Transfers = e.transferred()
	for _, id := range e.order {
		d := e.disks[id]
		if d.copying() {
			continue
		}
		for i := range d.events {
			f := fileEventOf(&d.events[i], e.clock)
			if c := d.cached[i]; c != nil {
				f.Cached = append(f.Cached, *c)
			}
			in.Files = append(in.Files, f)
		}
	}
	e.oddities(in)
	e.gaps(in)
	if e.heard[0] != 0 {
		from, ok := e.tape.Clock().Realtime(e.heard[0])
		to, _ := e.tape.Clock().Realtime(e.heard[1])
		if ok {
			in.Heard = &Span{from, to}
		}
	}
	in.Clock, in.Recovered, in.Boot = e.clock, e.recovered, e.boot
	if in.Boot == 0 {
		in.Boot = bootTime(in)
	}
	return Tell(in, e.o.Rules), nil
}

// finish brings the analyzers to where the story can be told. final says that
// nothing more will come.
func (e *Engine) finish(final bool) error {
	if !final {
		e.net.Interim()
		return nil
	}
	e.unfinished()
	if err := e.net.Finish(); err != nil {
		return err
	}
	for _, id := range slices.Clone(e.order) {
		d := e.disks[id]
		t, err := e.tape.DiskOf(d.def.ID)
		if err != nil {
			return err
		}
		if t.Info == nil {
			continue // it has no base
		}
		if err := e.based(d, e.next-1); err != nil {
			return err
		}
	}
	for _, id := range e.order {
		d := e.disks[id]
		if err := d.a.Finish(); err != nil {
			return err
		}
		for _, p := range d.a.Problems() {
			if p.Kind != "tamper" {
				e.problem(d.def.Name, errors.New(p.Text))
			}
		}
	}
	return nil
}

func (e *Engine) gaps(in *Input) {
	defs := e.streams()
	for _, g := range e.tape.Reader().Gaps() {
		def := defs[g.Stream]
		k := Gap{Stream: def.Name, Reason: g.Detail, Record: g.Seq, Network: def.Kind == format.StreamNetwork}
		k.From, _ = e.tape.Clock().Realtime(g.From)
		k.To, _ = e.tape.Clock().Realtime(g.To)
		in.Gaps = append(in.Gaps, k)
	}
	sort.SliceStable(in.Gaps, func(i, j int) bool { return in.Gaps[i].From < in.Gaps[j].From })
}

// bootTime is the wall-clock time at which the guest's boot clock read zero. A
// process seen in one snapshot and not in the one before was born between them,
// so each such process bounds it from both sides; the middle of what is left is
// taken.
func bootTime(in *Input) int64 {
	var lo, hi int64
	for i := range in.Processes {
		p := &in.Processes[i]
		first := snapshotNumber(in.Snapshots, []int{p.FirstSnapshot})
		if first == nil || first.Realtime == 0 || p.StartTime == 0 {
			continue
		}
		if b := first.Realtime - int64(p.StartTime); hi == 0 || b < hi {
			hi = b
		}
		before := snapshotNumber(in.Snapshots, []int{p.FirstSnapshot - 1})
		if before == nil || before.Realtime == 0 {
			continue
		}
		if b := before.Realtime - int64(p.StartTime); b > lo {
			lo = b
		}
	}
	if lo != 0 && hi != 0 && lo <= hi {
		return lo + (hi-lo)/2
	}
	return hi
}
