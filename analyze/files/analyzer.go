package files

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
)

// Options say how to look at one disk.
type Options struct {
	Disk string // its name on the tape: "xvda"
	// Hash reads content before and after each change: hashes, entropy, magic
	// numbers and text diffs.
	Hash bool
	// Blocks hashes each block written, too, for content that is known only in
	// part; see Event.Blocks. It needs Hash.
	Blocks bool
	// HashLimit is the size in bytes above which a file is not hashed; 0 = 64 MiB.
	HashLimit uint64
	// DiffLimit bounds the text compared, in bytes; 0 = 256 KiB, negative = no diffs.
	DiffLimit int64
	// Emit receives each event as soon as it is known. Without it they are kept
	// for Events.
	Emit func(Event)
	// Scratch is where written blocks go that should not stay on the heap.
	Scratch fs.Scratch
	// Copied is the tape time at which the copy of the base image ended; 0 if it is of
	// one moment. A base is copied while the guest runs: each of its blocks is of
	// another moment. With every request that took effect until the copy ended applied
	// on top it is the disk of exactly that moment, and the requests after it are what
	// changed since.
	Copied int64
	// Beside, if not nil, gives the analyzers of the guest's other disks: a
	// filesystem's external journal may be on one. They must be fed in tape order with
	// this one.
	Beside func() []*Analyzer
}

// Problem is something that could not be looked at, or contradicts itself.
type Problem struct {
	Kind   string `json:"kind"` // "unknown", "corrupt", "unsupported", "tamper", "torn", "gap"
	Disk   string `json:"disk"`
	Volume string `json:"volume,omitempty"`
	Record uint64 `json:"record,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
	Path   string `json:"path,omitempty"`
	Offset uint64 `json:"offset,omitempty"` // bytes from the start of the volume
	Length uint64 `json:"length,omitempty"`
	Text   string `json:"text"`
}

// Analyzer follows one disk.
type Analyzer struct {
	o        Options
	disk     *fs.Overlay
	volumes  []*volumeState
	watch    []fs.Range // where the layout is written
	pending  rebuild.Pending
	clock    clock
	events   []Event
	seq      uint64
	problems []Problem
	dropped  int // problems beyond maxProblems
	findings *finder
	lastOp   fs.Stamp // of the last write applied
	now      int64    // tape time of the write being applied
	settled  bool     // nothing written since the last Settle
	begun    bool
	parts    chan []byte // room to read content into
	resync   bool        // content came outside the stream: compare trees before going on
	serves   []service   // filesystems whose journals are on this disk
	missed   []Problem   // while the base was copied: what may have been read back by its end
}

// maxProblems bounds the list; a broken image can produce one for each inode.
const maxProblems = 10000

// quiet is the pause after which what was written without a journal is taken as
// complete: the kernel writes back in bursts.
const quiet = int64(100e6)

// New starts at the base image, nil when nothing is known of the disk before the
// first write. size is the disk's, in bytes.
func New(size uint64, base format.Image, o Options) (*Analyzer, error) {
	if size == 0 {
		return nil, fmt.Errorf("disk %s: size unknown", o.Disk)
	}
	if o.HashLimit == 0 {
		o.HashLimit = 64 << 20
	}
	if o.DiffLimit == 0 {
		o.DiffLimit = 256 << 10
	}
	a := &Analyzer{o: o, disk: fs.NewOverlay(size, base, o.Scratch), settled: true}
	a.findings, a.parts = newFinder(a), newParts()
	return a, nil
}

// begin reads the layout and indexes the filesystems, once, at the first record after
// the base or the first question.
func (a *Analyzer) begin() {
	if a.begun {
		return
	}
	a.begun, a.settled, a.resync = true, true, false
	for _, p := range a.missed {
		if p.Length == 0 || !a.disk.Known(p.Offset, p.Length) {
			a.problem(p)
		}
	}
	a.missed = nil
	a.layout(fs.Stamp{})
}

// lost tells of content that was not captured; of what the base may still bring, once
// the base is complete.
func (a *Analyzer) lost(p Problem) {
	if a.begun || len(a.missed) >= maxProblems {
		a.problem(p)
		return
	}
	a.missed = append(a.missed, p)
}

// Feed takes the next record of the tape. Records of other streams and types it
// has no use for are ignored; anchors tell it the wall clock.
func (a *Analyzer) Feed(r format.Record) error {
	if _, ok := r.(*format.Anchor); !ok && (a.o.Copied == 0 || r.Header().Time > a.o.Copied) {
		a.begin()
	}
	switch r := r.(type) {
	case *format.Anchor:
		a.clock.anchor(r)
	case *format.DiskRequest:
		return a.request(r)
	case *format.DiskCompletion:
		return a.completion(r)
	case *format.Gap:
		return a.gap(r)
	case *format.Mark:
		at := fs.Stamp{Seq: r.Seq, Time: r.Time}
		a.settle(at)
		a.conclude(at)
	}
	return nil
}

// Finish says that nothing more will come: what is only half known is reported
// as such.
func (a *Analyzer) Finish() error {
	a.begin()
	a.reconcile(a.lastOp)
	end := fs.Stamp{Seq: a.lastOp.Seq, Time: fs.EndOfTape}
	for _, v := range a.volumes {
		if v.fs != nil {
			v.fs.Settle(end, v)
		}
		v.finish()
	}
	return nil
}

// Events returns what happened since the last call, in order. With Options.Emit
// it is always empty.
func (a *Analyzer) Events() []Event {
	out := a.events
	a.events = nil
	return out
}

// Problems lists what limits the events so far.
func (a *Analyzer) Problems() []Problem {
	out := append([]Problem(nil), a.problems...)
	if a.dropped > 0 {
		out = append(out, Problem{Kind: "corrupt", Disk: a.o.Disk, Text: fmt.Sprintf("%d more problems not listed", a.dropped)})
	}
	return out
}

// Complete reports whether everything could be looked at.
func (a *Analyzer) Complete() bool {
	for _, p := range a.problems {
		if p.Kind != problemKind(fs.ProblemTamper) {
			return false
		}
	}
	return true
}

func (a *Analyzer) problem(p Problem) {
	p.Disk = a.o.Disk
	if len(a.problems) >= maxProblems {
		a.dropped++
		return
	}
	a.problems = append(a.problems, p)
}

func (a *Analyzer) emit(e Event) {
	a.seq++
	e.weigh()
	e.PathHex, e.OldPathHex = hexOf(e.Path), hexOf(e.OldPath)
	a.findings.see(&e)
	if a.o.Emit != nil {
		a.o.Emit(e)
		return
	}
	a.events = append(a.events, e)
}
