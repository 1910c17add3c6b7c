package main

import (
	"iter"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// beside follows the other disks of a tape as far as one is followed, once a
// filesystem there asks for a journal that is on one of them.
type beside struct {
	tape  *replay.Tape
	of    *replay.Disk
	seq   uint64 // records before it are fed,
	until int64  // unless they are of a later time
	asked bool
	disks []*other
}

type other struct {
	a       *files.Analyzer
	written scratch
	next    func() (format.Record, error, bool)
	stop    func()
	held    format.Record
}

// analyzers gives one for each other disk, fed up to now. A disk that cannot be
// followed is left out: the journal is then said to be missing.
func (b *beside) analyzers() []*files.Analyzer {
	if !b.asked {
		b.asked = true
		b.open()
	}
	var out []*files.Analyzer
	for _, o := range b.disks {
		out = append(out, o.a)
	}
	return out
}

func (b *beside) open() {
	disks, err := b.tape.Disks()
	if err != nil {
		return
	}
	for _, d := range disks {
		if d.Def.ID == b.of.Def.ID {
			continue
		}
		o := &other{}
		if o.a, err = files.New(d.Def.Size, d.Base, files.Options{Disk: d.Def.Name, Scratch: &o.written, Copied: d.Copied(), Emit: func(files.Event) {}}); err != nil {
			continue
		}
		o.next, o.stop = iter.Pull2(b.tape.Reader().Records(format.Query{Streams: []format.StreamID{d.Def.ID}}))
		b.disks = append(b.disks, o)
	}
	_ = b.upTo(b.seq, b.until) // a write that cannot be stored leaves that journal unknown
}

// upTo feeds the records before seq and not after a time.
func (b *beside) upTo(seq uint64, until int64) error {
	b.seq, b.until = seq, until
	for _, o := range b.disks {
		for {
			if o.held == nil {
				r, err, ok := o.next()
				if !ok {
					break
				}
				if err != nil {
					continue // told of where the disk itself is followed
				}
				o.held = r
			}
			if h := o.held.Header(); h.Seq >= seq || h.Time > until {
				break
			}
			if err := o.a.Feed(o.held); err != nil {
				return err
			}
			o.held = nil
		}
	}
	return nil
}

func (b *beside) close() error {
	var first error
	for _, o := range b.disks {
		o.stop()
		if err := o.written.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
