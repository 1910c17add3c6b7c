package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// rawDisk is a disk image file as a base.
type rawDisk struct {
	f    *os.File
	size int64
}

func openRawDisk(path string) (*rawDisk, error) {
	f, size, err := openInput(path)
	if err != nil {
		return nil, err
	}
	if size == 0 {
		err = fmt.Errorf("%s: is empty, or a device whose size cannot be told: copy it to a file first", path)
		return nil, errors.Join(err, f.Close())
	}
	return &rawDisk{f, size}, nil
}

func (d *rawDisk) Extents() []format.Extent {
	return []format.Extent{{Start: 0, Count: uint64(d.size+format.PageSize-1) / format.PageSize}}
}

func (d *rawDisk) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	dst = dst[:format.PageSize]
	clear(dst)
	off := int64(n) * format.PageSize
	if n > uint64(d.size)/format.PageSize || off >= d.size {
		return format.PageAbsent, nil
	}
	if k, err := d.f.ReadAt(dst, off); err != nil && !(errors.Is(err, io.EOF) && off+int64(k) == d.size) {
		return format.PageMissing, fmt.Errorf("%s: block at %d: %w", d.f.Name(), off, err)
	}
	if [format.PageSize]byte(dst) == [format.PageSize]byte{} {
		return format.PageZero, nil
	}
	return format.PageData, nil
}

// diskSource gives what files and cat need of one disk: an analyzer fed up to a
// moment.
type diskSource struct {
	keyFlags
	base, writes string
	// fed, if not nil, is told of each record once it is fed, with the events it
	// brought; first of none, at the base.
	fed func(f *followed, events []files.Event) error
}

// followed is a disk whose records have been fed.
type followed struct {
	name     string
	a        *files.Analyzer
	complete bool
	history  *files.History
	written  scratch
	others   beside
	log      *blockLog // where that is what is followed
	copied   int64     // as files.Options has it
	based    bool      // a record after that was met
}

func (f *followed) close() error {
	err := errors.Join(f.written.Close(), f.others.close())
	if f.log != nil {
		err = errors.Join(err, f.log.close())
	}
	return err
}

// feed hands a record on.
func (s *diskSource) feed(f *followed, r format.Record) error {
	if !f.based && (f.copied == 0 || r.Header().Time > f.copied) {
		f.based = true
		if err := s.drain(f); err != nil {
			return err
		}
	}
	if err := f.a.Feed(r); err != nil {
		return fmt.Errorf("record %d: %w", r.Header().Seq, err)
	}
	if !f.based {
		return nil
	}
	return s.drain(f)
}

func (s *diskSource) drain(f *followed) error {
	if s.fed == nil {
		return nil
	}
	if events := f.a.Events(); len(events) > 0 || f.history == nil {
		return s.fed(f, events)
	}
	return nil
}

// disksOf returns every disk of a tape, or the one named, as often as each was recorded
// until a moment.
func disksOf(tape *replay.Tape, name string, until replay.Moment) ([]*replay.Disk, error) {
	if name == "" {
		return tape.Disks()
	}
	return tape.DisksNamed(name, until)
}

// disksAt returns every disk of a tape, or the one named, each as it was recorded at a
// moment.
func disksAt(tape *replay.Tape, name string, m replay.Moment) ([]*replay.Disk, error) {
	names := []string{name}
	if name == "" {
		all, err := tape.Disks()
		if err != nil {
			return nil, err
		}
		names = nil
		for _, d := range all {
			if !slices.Contains(names, d.Def.Name) {
				names = append(names, d.Def.Name)
			}
		}
	}
	var out []*replay.Disk
	for _, n := range names {
		d, err := tape.DiskAt(n, m)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// follow feeds disks of a tape up to a moment, and hands each to done.
func (s *diskSource) follow(ctx context.Context, t *terminal, tape *replay.Tape, disks []*replay.Disk, until replay.Moment, o files.Options, done func(*followed) error) error {
	if len(disks) == 0 {
		return fmt.Errorf("%s: the tape holds no disk, so nothing can be said of files", tape.Name)
	}
	for _, d := range disks {
		f, err := s.followDisk(ctx, t, tape, d, until, o)
		if err != nil {
			return err
		}
		if err := errors.Join(done(f), f.close()); err != nil {
			return err
		}
	}
	return nil
}

// cutOff says, once it is so, that a tape read to its end has no end.
func cutOff(t *terminal, tape *replay.Tape, until replay.Moment) bool {
	cut := !tape.Reader().Sealed() && until == replay.End
	if cut {
		t.warnf("%s: %s", tape.Name, replay.NotSealed)
	}
	return cut
}

func (s *diskSource) followDisk(ctx context.Context, t *terminal, tape *replay.Tape, d *replay.Disk, until replay.Moment, o files.Options) (*followed, error) {
	if d.Base == nil {
		t.warnf("%s: no base image of %s is on the tape: paths and old content are unknown where the disk was not written", tape.Name, d.Def.Name)
	}
	f := &followed{name: d.Def.Name, complete: d.Base != nil, copied: d.Copied()}
	o.Disk, o.Scratch, o.Copied = d.Def.Name, &f.written, f.copied
	f.others = beside{tape: tape, of: d}
	o.Beside = f.others.analyzers
	a, err := files.New(d.Def.Size, d.Base, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tape.Name, err)
	}
	f.a = a
	if until.Time < f.copied {
		t.warnf("%s: the base image of %s was still being copied then: what follows is of the moment when it was complete", tape.Name, d.Def.Name)
		until.Time, f.complete = f.copied, false
	}
	if d.Info != nil && d.Info.End == nil {
		t.warnf("%s: the base image of %s was never finished: paths and old content are unknown where it ends", tape.Name, d.Def.Name)
		f.complete = false
	}
	if cutOff(t, tape, until) {
		f.complete = false
	}
	// A tape made of other tools' files has its only anchor in the header.
	if as := tape.Reader().Anchors(); len(as) > 0 {
		if err := a.Feed(&as[0]); err != nil {
			return nil, err
		}
	}
	n := 0
	q := format.Query{Streams: []format.StreamID{d.Def.ID, 0}, ToTime: until.Time}
	for r, err := range tape.Reader().Records(q) {
		if err != nil {
			t.warnf("%s: %v", tape.Name, err)
			f.complete = false
			continue
		}
		if n++; n%1024 == 0 {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			t.progress("%s: record %d", d.Def.Name, r.Header().Seq)
		}
		if err := errors.Join(f.others.upTo(r.Header().Seq, until.Time), s.feed(f, r)); err != nil {
			return nil, fmt.Errorf("%s: %w", tape.Name, err)
		}
	}
	t.clearProgress()
	return f, errors.Join(f.others.upTo(math.MaxUint64, until.Time), s.drain(f))
}
