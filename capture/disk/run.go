//go:build linux

package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

const (
	lookPeriod = 100 * time.Millisecond // how long to wait for an event
	tickPeriod = 250e6                  // ns between looks at the kernel's marks
	eventSkew  = 10e6                   // ns by which events may follow later ones
	staleAfter = 5e9                    // ns after which a request the kernel forgot is forgotten here
	doubtAfter = 30e9                   // ns after which a request is taken for one whose end is not seen

	allRead = math.MaxInt64 // of run.reached: there will be no more events
)

// run is one recording: one goroutine that turns events into records, and one that
// reads the device for it.
type run struct {
	s       *Source
	order   *order
	resync  *resync
	counted bpf.Counters
	ticked  int64
	seen    int64 // time of the newest event read; payloads have none
	reached int64 // up to here all events have been read
	jobs    chan uint64
	results chan *chunkRead
	event   bpf.Event
	errs    []error
}

func newRun(s *Source, from content) *run {
	r := &run{
		s: s, order: newOrder(s.stream, s.sink.Write), resync: newResync(s.dev.size),
		ticked: s.c.Clock.Now(), jobs: make(chan uint64), results: make(chan *chunkRead, 1),
	}
	r.order.ended, r.order.unknown = r.ended, r.unknown
	go readBack(r.jobs, r.results, from, s.dev.size, s.c.Clock)
	return r
}

// readBack reads chunks as they are asked for.
func readBack(jobs <-chan uint64, results chan<- *chunkRead, from content, size uint64, clock Clock) {
	IdleThread()
	for chunk := range jobs {
		got := &chunkRead{chunk: chunk, t0: clock.Now(), data: alignedBuffer(chunkSize)}
		n := min(chunkSize, size-chunk*chunkSize)
		got.err = from.read(got.data[:n], chunk*chunkSize)
		got.t1 = clock.Now()
		results <- got
	}
}

// record runs until ctx ends and everything is read back, or Settle is over.
func (r *run) record(ctx context.Context) error {
	clock, limit := r.s.c.Clock, int64(0)
	for {
		idle, err := r.step(time.Now().Add(lookPeriod))
		if err != nil {
			return err
		}
		if ctx.Err() == nil {
			continue
		}
		if limit == 0 {
			limit = clock.Now() + int64(r.s.c.Settle)
			if err := r.tick(clock.Now()); err != nil {
				return err
			}
		}
		if idle && r.settled() || clock.Now() > limit {
			return nil
		}
	}
}

// settled reports whether the tape knows all of the disk.
func (r *run) settled() bool { return !r.resync.reading && len(r.resync.dirty) == 0 && r.order.empty() }

// step takes one event, if one comes before the deadline, and does what is due.
// idle tells that none came.
func (r *run) step(deadline time.Time) (idle bool, err error) {
	err = r.s.probe.Next(&r.event, deadline)
	idle = timedOut(err)
	if err != nil && !idle {
		return idle, fmt.Errorf("read events: %w", err)
	}
	now := r.s.c.Clock.Now()
	// A payload is late by the ring's time, not by ours: when we fall behind, its
	// pieces wait in the ring like everything else.
	r.reached = now
	if !idle {
		switch r.event.Kind {
		case bpf.Request:
			r.s.requests.Add(1)
		case bpf.Payload:
			r.s.payload.Add(uint64(r.event.Bytes))
		}
		r.order.add(&r.event)
		r.seen = max(r.seen, r.event.Time)
		r.reached = r.seen
	}
	if err := r.order.commit(r.reached); err != nil {
		return idle, err
	}
	if now-r.ticked >= tickPeriod {
		if err := r.tick(now); err != nil {
			return idle, err
		}
	}
	return idle, r.readBacks(idle, now)
}

// readBacks writes the result of a read whose time has come, and asks for the next.
func (r *run) readBacks(idle bool, now int64) error {
	if r.resync.result == nil && r.resync.reading {
		select {
		case r.resync.result = <-r.results:
		default:
		}
	}
	// All events up to the end of the read are on the tape if later ones are, or if
	// there were none for a while. Events of different CPUs may be a little out of
	// order.
	got := r.resync.result
	if got != nil && r.order.empty() && (r.event.Time > got.t1+eventSkew || idle && now > got.t1) {
		if got.err != nil {
			r.s.unreadable.Add(1)
			return r.s.sink.Write(r.resync.failed(r.s.stream))
		}
		for _, q := range r.resync.records(r.s.stream) {
			if err := r.s.sink.Write(q); err != nil {
				return err
			}
		}
	}
	if chunk, ok := r.resync.next(); ok {
		r.resync.begin(chunk, now)
		r.jobs <- chunk // the reader is idle: it does not block
	}
	return nil
}

// tick takes the kernel's marks and counters. Marked chunks become a gap at once,
// and are read back.
func (r *run) tick(now int64) error {
	var chunks []uint64
	r.s.probe.Touched(func(c uint64) { chunks = append(chunks, c) })
	counts, err := r.s.probe.Counters()
	if err != nil {
		return err
	}
	from, before := r.ticked, r.counted
	r.ticked, r.counted = now, counts
	r.s.lost.Store(counts.Dropped + counts.CompletionsDropped)
	var fresh []uint64 // a chunk that waits to be read back has its gap already
	for _, c := range chunks {
		if c*chunkSize < r.resync.size && !r.resync.dirty[c] {
			fresh = append(fresh, c)
			r.resync.dirty[c] = true
		}
	}
	r.s.unsure.Store(uint64(len(r.resync.dirty)) * chunkSize)
	if err := r.forget(now); err != nil {
		return err
	}
	r.s.inFlight.Store(uint64(len(r.order.flying)))
	lost := counts.Dropped - before.Dropped + counts.CompletionsDropped - before.CompletionsDropped
	orphans := counts.Orphans - before.Orphans
	if len(fresh) == 0 && lost == 0 {
		return nil
	}
	g := &format.Gap{From: from, To: now, Reason: format.GapOverflow, Count: lost, Extents: r.resync.marks(fresh)}
	g.Stream, g.Time = r.s.stream, now
	g.Detail = fmt.Sprintf("%d requests or completions did not fit the ring of %d bytes", lost, r.s.c.Ring)
	if r.order.noPayload {
		g.Detail = fmt.Sprintf("%d records did not fit the buffers of the block tracer", lost)
	}
	if lost == 0 && orphans > 0 {
		g.Reason, g.Count = format.GapDetached, orphans
		g.Detail = fmt.Sprintf("%d writes began before the recording", orphans)
	}
	if counts.Unreadable > before.Unreadable {
		g.Detail += fmt.Sprintf("; %d pieces could not be read", counts.Unreadable-before.Unreadable)
	}
	return r.s.sink.Write(g)
}

// forget drops requests whose completion was lost: the kernel no longer has them
// in flight, and has marked what they touched. A recorder that is behind finds the
// completion in the ring yet, so it is lost only once everything up to then is read.
// A request that does not end for long is either stuck or not the backend's, so that
// its end is not seen: what it wrote is read back, and again should it end.
func (r *run) forget(now int64) error {
	old := slices.DeleteFunc(slices.Collect(maps.Values(r.order.flying)), func(p *pending) bool {
		return now-p.event.Time < staleAfter
	})
	if len(old) == 0 {
		return nil
	}
	flying, err := r.s.probe.InFlight()
	if err != nil {
		return err
	}
	for _, p := range old {
		switch {
		case flying[p.event.ID]:
			if p.doubted || now-p.event.Time < doubtAfter {
				continue
			}
		case p.missed == 0 && r.reached != allRead:
			p.missed = now
			continue
		case r.reached <= p.missed+eventSkew:
			continue
		default:
			delete(r.order.flying, p.event.ID)
		}
		p.doubted = true
		if op := format.DiskOp(p.event.Op); op != format.DiskRead && op != format.DiskFlush && !r.order.noPayload {
			r.resync.touch(p.offset(), p.length())
		}
	}
	return nil
}

// ended learns from each completion what the device now holds.
func (r *run) ended(p *pending, status int32, at int64) {
	switch op := format.DiskOp(p.event.Op); {
	case op == format.DiskRead || op == format.DiskFlush || r.order.noPayload:
	case status != 0:
		r.resync.touch(p.offset(), p.length()) // it may have happened in part
	case p.noData || p.doubted:
		r.resync.touch(p.offset(), p.length())
	case (op == format.DiskDiscard || op == format.DiskSecureErase) && p.length() <= discardLimit:
		r.resync.touch(p.offset(), p.length())
	default:
		r.resync.ended(p.offset(), p.length(), at)
	}
}

// unknown is a request the format has no name for: what it touched is read back.
func (r *run) unknown(p *pending) {
	r.resync.touch(p.offset(), p.length())
	g := &format.Gap{From: p.event.Time, To: p.event.Time, Reason: format.GapUnknown, Count: 1, Detail: p.describe()}
	g.Stream, g.Time = r.s.stream, p.event.Time
	if p.length() > 0 {
		g.Extents = []format.Extent{{Start: p.offset(), Count: p.length()}}
	}
	if err := r.s.sink.Write(g); err != nil {
		r.errs = append(r.errs, err)
	}
}

// finish stops the watching, writes what is still in the ring, and says what was
// not read back.
func (r *run) finish() error {
	r.errs = append(r.errs, r.s.probe.Detach())
	for limit := time.Now().Add(2 * time.Second); time.Now().Before(limit); {
		err := r.s.probe.Next(&r.event, time.Now().Add(10*time.Millisecond))
		if err != nil {
			if !timedOut(err) {
				r.errs = append(r.errs, err)
			}
			break
		}
		r.order.add(&r.event)
	}
	now := r.s.c.Clock.Now()
	r.reached = allRead
	r.errs = append(r.errs, r.order.commit(now+payloadPatience), r.tick(now))
	close(r.jobs)
	if r.resync.reading && r.resync.result == nil {
		r.resync.result = <-r.results
	}
	if got := r.resync.result; got != nil {
		r.resync.dirty[got.chunk] = true
	}
	if r.order.noPayload {
		g := &format.Gap{From: r.s.begun, To: now, Reason: format.GapNoPayload, Count: format.Unknown, Detail: r.s.notice}
		g.Stream, g.Time = r.s.stream, now
		r.errs = append(r.errs, r.s.sink.Write(g))
	}
	r.s.unsure.Store(uint64(len(r.resync.dirty)) * chunkSize)
	if left := slices.Sorted(maps.Keys(r.resync.dirty)); len(left) > 0 {
		g := &format.Gap{
			From: r.s.begun, To: now, Reason: format.GapBudget, Count: 0, Extents: r.resync.marks(left),
			Detail: fmt.Sprintf("%d parts of the disk were not read back before the recording ended", len(left)),
		}
		g.Stream, g.Time = r.s.stream, now
		r.errs = append(r.errs, r.s.sink.Write(g))
	}
	return errors.Join(r.errs...)
}
