package process

import (
	"errors"
	"fmt"
	"time"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Options are what the user may add.
type Options struct {
	// Symbols is a BTF file, an ELF file with .BTF, or an ISF document of the
	// guest's kernel, as it is or compressed with gzip or zstd; nil to use what
	// is in its memory.
	Symbols []byte
}

// Problem is something that could not be looked at.
type Problem struct {
	Snapshot int    `json:"snapshot"`
	What     string `json:"what"`
	Reason   string `json:"reason"`
}

// LookError says that a snapshot could not be looked at wholly. What could be
// is kept.
type LookError struct {
	Snapshot int
	Problems []Problem
	Err      error // when nothing could be: *linux.UnknownGuest and others
}

func (e *LookError) Error() string {
	s := fmt.Sprintf("snapshot %d: ", e.Snapshot)
	if e.Err != nil {
		return s + e.Err.Error()
	}
	p := e.Problems[0]
	s += fmt.Sprintf("%s: %s", p.What, p.Reason)
	if n := len(e.Problems) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

// Unwrap gives the reason nothing could be looked at.
func (e *LookError) Unwrap() error { return e.Err }

// Analyzer follows the processes of one guest over its snapshots.
type Analyzer struct {
	opt     Options
	k       *linux.Kernel
	scanner *objects.Scanner
	changed []format.Extent // frames that may differ from the snapshot before
	delta   bool            // changed is known
	snaps   []*snapshot
	model   model
}

// New returns an analyzer that has seen nothing yet.
func New(o Options) *Analyzer { return &Analyzer{opt: o, model: newModel()} }

// Feed takes the next snapshot, in tape order. The error is a *LookError: what
// could be read is kept, and the analyzer can be fed on.
func (a *Analyzer) Feed(m replay.Memory) error {
	s := &snapshot{info: m.Info(), number: m.Info().Snapshot}
	if s.number == 0 {
		s.number = len(a.snaps) + 1
	}
	s.when = when(s.info, s.number)
	a.snaps = append(a.snaps, s)
	if err := a.follow(m); err != nil {
		s.problem("kernel", err)
		return &LookError{Snapshot: s.number, Problems: s.problems, Err: err}
	}
	s.steps, s.banner = a.k.Steps, a.k.Banner
	l := &lister{
		s: s, v: objects.NewView(a.k), scanner: a.scanner, at: map[uint64]*entry{},
		open: map[uint64]*mapped{}, broken: map[View]bool{}, strays: map[uint64]*thread{}, owners: map[ownerOf]bool{},
	}
	l.scanErr = a.scanner.Update(l.v, a.changed, a.delta)
	l.list(a.model.prev)
	a.model.take(s)
	if len(s.problems) > 0 {
		return &LookError{Snapshot: s.number, Problems: s.problems}
	}
	return nil
}

// follow readies the kernel for the snapshot: the one known, when this is the
// same boot, else found anew.
func (a *Analyzer) follow(m replay.Memory) (err error) {
	a.changed, a.delta = nil, false
	if a.k != nil {
		if a.changed, a.delta, err = a.k.Advance(m); err == nil {
			return nil
		}
	}
	a.k, a.scanner, a.delta = nil, objects.NewScanner(), false
	k, err := linux.Open(m, linux.Options{Symbols: a.opt.Symbols})
	if err != nil {
		return err
	}
	k.Preload(objects.Symbols()...)
	a.k = k
	return nil
}

// when is how a snapshot's time is written.
func when(i replay.MemoryInfo, number int) string {
	if i.Realtime == 0 {
		return fmt.Sprintf("#%d", number)
	}
	return rfc3339(i.Realtime)
}

func rfc3339(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// Unsupported says whether an error of Feed means that the guest's system is not
// one whose processes can be listed, and which it is ("" when not recognised).
func Unsupported(err error) (system string, ok bool) {
	var u *linux.UnknownGuest
	if errors.As(err, &u) {
		return u.System, true
	}
	return "", false
}
