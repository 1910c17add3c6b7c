//go:build linux

package blktrace

import (
	"os"
	"slices"
	"time"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

// Blocks gives the events of a device as package bpf does, without payload. The
// tracer has a buffer for each CPU: events are put into the order of their times,
// for which they are held back a little.
type Blocks struct {
	control Control
	reader  reader
	start   uint64 // first sector of the partition, on its disk
	skip    uint32 // process whose reads are left out: our own
	reads   bool
	held    []record
	ready   []bpf.Event
	flying  []bpf.Event
	lastID  uint64
	counts  bpf.Counters
	now     func() int64
	stopped bool
}

const (
	holdBack   = 150 * time.Millisecond
	lookPeriod = 20 * time.Millisecond
)

// New reads the files of a tracer, of a device of which start is the first sector
// where it is a partition. now is CLOCK_MONOTONIC in ns.
func New(c Control, files []*os.File, start uint64, reads bool, now func() int64) *Blocks {
	return &Blocks{
		control: c, reader: reader{files: files, rest: make([][]byte, len(files))},
		start: start, reads: reads, skip: uint32(os.Getpid()), now: now,
	}
}

// Next reads one event, as bpf.Blocks.Next does.
func (b *Blocks) Next(e *bpf.Event, deadline time.Time) error {
	for len(b.ready) == 0 {
		if !b.stopped {
			if err := b.reader.read(func(r record) { b.held = append(b.held, r) }); err != nil {
				return err
			}
		}
		b.order(b.now())
		if len(b.ready) > 0 {
			break
		}
		wait := time.Until(deadline)
		if wait <= 0 {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(min(wait, lookPeriod))
	}
	*e = b.ready[0]
	b.ready = b.ready[1:]
	return nil
}

// order makes events of the records that are old enough for no earlier one to come.
func (b *Blocks) order(now int64) {
	slices.SortStableFunc(b.held, func(x, y record) int {
		switch {
		case x.time < y.time:
			return -1
		case x.time > y.time:
			return 1
		}
		return 0
	})
	n := 0
	for n < len(b.held) && (b.stopped || now-b.held[n].time > int64(holdBack)) {
		b.take(&b.held[n])
		n++
	}
	b.held = slices.Delete(b.held, 0, n)
}

// take turns one record into events. The tracer gives requests no name: those that
// lie within what completed have ended.
func (b *Blocks) take(r *record) {
	if r.category&catNotify != 0 {
		return
	}
	sector := r.sector - min(b.start, r.sector)
	e := bpf.Event{Time: r.time, Sector: sector, Bytes: r.bytes, Op: uint8(r.op()), CPU: r.cpu, PID: r.pid}
	isRead := r.op() == format.DiskRead
	switch r.action {
	case actQueue:
		if isRead && (!b.reads || r.pid == b.skip) {
			return
		}
		b.lastID++
		e.ID, e.Kind, e.Flags = b.lastID, bpf.Request, r.flags()
		b.counts.Requests++
		b.flying = append(b.flying, e)
		b.ready = append(b.ready, e)
	case actComplete:
		end := sector + uint64(r.bytes)/512
		b.flying = slices.DeleteFunc(b.flying, func(f bpf.Event) bool {
			if f.Op != e.Op || f.Sector < sector || f.Sector+uint64(f.Bytes)/512 > end {
				return false
			}
			c := f
			c.Kind, c.Time, c.Flags, c.Status = bpf.Completion, r.time, 0, status(r.errno)
			b.ready = append(b.ready, c)
			return true
		})
		if len(b.flying) > maxFlying { // their ends were dropped, or are of a kind not traced
			b.flying = slices.Delete(b.flying, 0, len(b.flying)-maxFlying)
		}
	}
}

const maxFlying = 1 << 14

// status is the blk_status_t that stands for an error the tracer gives as errno.
func status(errno uint16) uint8 {
	if errno == 0 {
		return 0
	}
	return 10 // BLK_STS_IOERR
}

func (r *record) flags() (f uint8) {
	if r.category&catFUA != 0 {
		f |= bpf.FUA
	}
	if r.category&catFlush != 0 && r.bytes > 0 {
		f |= bpf.Preflush
	}
	if r.category&catSync != 0 {
		f |= bpf.Sync
	}
	if r.category&catMeta != 0 {
		f |= bpf.Meta
	}
	return f
}

// Touched has nothing to say: no content is recorded that could be missing.
func (b *Blocks) Touched(func(uint64)) {}

// Counters reads the totals.
func (b *Blocks) Counters() (bpf.Counters, error) {
	if b.stopped {
		return b.counts, nil
	}
	n, err := b.control.Dropped()
	if err == nil {
		b.counts.Dropped = n
	}
	return b.counts, err
}

// InFlight lists the requests that have not ended.
func (b *Blocks) InFlight() (map[uint64]bool, error) {
	out := map[uint64]bool{}
	for _, f := range b.flying {
		out[f.ID] = true
	}
	return out, nil
}

// Detach stops the tracing; what was traced can still be read.
func (b *Blocks) Detach() error {
	err := b.control.Stop()
	if e := b.reader.read(func(r record) { b.held = append(b.held, r) }); err == nil {
		err = e
	}
	if _, e := b.Counters(); err == nil {
		err = e
	}
	b.stopped = true
	return err
}

// Close ends the trace, which frees the device for another tracer.
func (b *Blocks) Close() error { return b.control.Close() }
