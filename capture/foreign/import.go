package foreign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/xentape/xentape/format"
)

// Sink is what records are written to; *format.Writer is one.
type Sink interface {
	DefineStream(format.StreamDef) (format.StreamID, error)
	Write(format.Record) error
	BeginSnapshot(format.SnapshotBegin) (*format.SnapshotWriter, error)
}

// Inputs are the files to put on one tape. All are of one guest.
type Inputs struct {
	Domain  [16]byte // the guest's UUID where known
	Memory  []MemoryInput
	Disks   []DiskInput
	Packets []PacketsInput
}

// MemoryInput is one memory image.
type MemoryInput struct {
	Image  *MemoryImage
	Time   int64 // when it was taken, ns since 1970 UTC; 0 = not known
	Paused bool  // the guest did not run while it was taken
}

// DiskInput is a disk: its content at the beginning, the writes to it, or both.
type DiskInput struct {
	Name     string      // "xvda"
	Base     io.ReaderAt // raw image; nil = none
	BaseSize int64       // bytes
	Source   string      // what the image is called, for provenance
	Writes   *LogWrites  // nil = none
}

// PacketsInput is a capture of one virtual interface, or of several: the second
// and later interfaces of a pcapng file become streams of their own.
type PacketsInput struct {
	Name    string // "vif0"
	Packets *Packets
}

// Import puts foreign recordings on a tape. Their clocks are wall clocks: the
// tape's time is nanoseconds since the earliest first time stamp among them, and
// Start ties it to UTC. Records of different files are interleaved by time; the
// order within a file is kept even where its time stamps go back.
type Import struct {
	feeds []feed
	base  int64 // ns since 1970 of the tape's time 0
	known bool
}

// Report says what was imported and what could not be.
type Report struct {
	Snapshots, Requests, Packets uint64
	Warnings                     []string // what is missing on the tape, one line each
}

func (r *Report) warn(f string, args ...any) {
	if len(r.Warnings) < maxWarnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf(f, args...))
	}
}

// A feed gives the records of one input in order.
type feed interface {
	// when is the wall-clock time of the next item; known is false when the input
	// does not say, and ok when there is no next item.
	when() (t int64, known, ok bool)
	// put writes the next item at time t of the tape and moves on.
	put(ctx context.Context, w *importRun, t int64, uncertainty uint32) error
	close()
}

// importRun is what feeds share while they write.
type importRun struct {
	sink   Sink
	base   int64
	report *Report
}

// NewImport looks at the first time stamp of each input.
func NewImport(in Inputs) (*Import, error) {
	if len(in.Memory)+len(in.Disks)+len(in.Packets) == 0 {
		return nil, errors.New("import: no inputs")
	}
	im := &Import{}
	if len(in.Memory) > 0 {
		im.feeds = append(im.feeds, &memoryFeed{domain: in.Domain, images: in.Memory})
	}
	for _, d := range in.Disks {
		if d.Base == nil && d.Writes == nil {
			return nil, fmt.Errorf("import: disk %s has neither base nor writes", d.Name)
		}
		im.feeds = append(im.feeds, newDiskFeed(in.Domain, d))
	}
	for _, p := range in.Packets {
		im.feeds = append(im.feeds, newPacketFeed(in.Domain, p))
	}
	for _, f := range im.feeds {
		if t, known, ok := f.when(); ok && known && (!im.known || t < im.base) {
			im.base, im.known = t, true
		}
	}
	return im, nil
}

// Start is the anchor to begin the tape with: time 0 is the earliest time stamp.
// Where no input has one, the wall clock is not known and Realtime is 0.
func (im *Import) Start() format.Anchor {
	a := format.Anchor{}
	if im.known {
		a.Realtime = im.base
	}
	return a
}

// Run writes everything to sink. What is damaged or cannot be read is a gap on
// the tape and a warning in the report; the error is for the tape itself.
func (im *Import) Run(ctx context.Context, sink Sink) (Report, error) {
	var report Report
	run := &importRun{sink: sink, base: im.base, report: &report}
	last := make([]int64, len(im.feeds)) // latest time written of each feed
	for {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		next, at, sure := im.earliest(last)
		if next < 0 {
			return report, nil
		}
		t, uncertainty := at, uint32(0)
		if sure {
			t, _, _ = im.feeds[next].when()
			t -= im.base
		} else {
			uncertainty = ^uint32(0)
		}
		last[next] = max(last[next], at)
		if err := im.feeds[next].put(ctx, run, t, uncertainty); err != nil {
			return report, fmt.Errorf("import: %w", err)
		}
	}
}

// earliest chooses the feed whose next item comes first, and says at which time
// of the tape. A time stamp that goes back, or is missing, is ordered as the one
// before it in its file.
func (im *Import) earliest(last []int64) (next int, at int64, known bool) {
	next = -1
	for i, f := range im.feeds {
		t, sure, ok := f.when()
		if !ok {
			continue
		}
		order := last[i]
		if sure {
			order = max(order, t-im.base)
		}
		if next < 0 || order < at {
			next, at, known = i, order, sure
		}
	}
	return next, at, known
}

// Close releases the inputs' iterators; the files are the caller's.
func (im *Import) Close() {
	for _, f := range im.feeds {
		f.close()
	}
}

// gap writes that something of a stream could not be read.
func (w *importRun) gap(stream format.StreamID, from, to int64, count uint64, extents []format.Extent, detail string) error {
	w.report.warn("%s", detail)
	g := &format.Gap{From: from, To: to, Reason: format.GapUnreadable, Count: count, Extents: extents, Detail: detail}
	g.Time, g.Stream = to, stream
	return w.sink.Write(g)
}

// pulled is an iterator one item of which can be looked at before it is taken.
type pulled[T any] struct {
	item T
	err  error
	ok   bool
	next func() (T, error, bool)
	stop func()
}

func pull[T any](seq iter.Seq2[T, error]) *pulled[T] {
	p := &pulled[T]{}
	p.next, p.stop = iter.Pull2(seq)
	p.advance()
	return p
}

func (p *pulled[T]) advance() { p.item, p.err, p.ok = p.next() }
