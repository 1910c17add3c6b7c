package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/format"
)

// shot is one snapshot while it is taken.
type shot struct {
	src    *Source
	info   xenabi.DomainInfo
	layout *layout
	limit  uint64 // one past the highest page the image can hold
	w      *format.SnapshotWriter
	cond   format.Conditions

	tracked bool   // changes come from the dirty log
	stated  bitset // pages that differ from the parent at one reading or another
	again   bitset // pages to read again during the pause; nil: all
	hot     bitset // of these, the ones likely to have changed: read first
	reading int64  // ns that the live pass spent reading and comparing
	asking  asking
	to      statements
	stash   stash
	blobs   chan described
	state   *machineState
	audited bool
	failed  uint64 // pages that exist and could not be read
	// captured is when all of the snapshot was in a file: the tape's, or its spool.
	captured int64
}

// snapshot takes one snapshot. An error means that it is not on the tape, or not
// complete there; the guest is running in any case.
func (s *Source) snapshot(ctx context.Context) error {
	info, err := s.cfg.Xen.DomainInfo(s.cfg.Domain)
	if err == nil && info.Gone() {
		err = fmt.Errorf("domain %d is being destroyed", s.cfg.Domain)
	}
	if err == nil && info.HVM() && !s.cfg.AllowPoD {
		err = checkPoD(s.cfg.Xen, s.cfg.Domain)
	}
	if err != nil {
		return err
	}
	sh := &shot{src: s, info: info}
	sh.cond.CopyStart = s.cfg.Clock.Now()
	sh.cond.Missed = format.Unknown
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		_ = sh.asking.all()
	}()
	sh.describe(ctx)
	if err := sh.plan(ctx); err != nil {
		return err
	}
	if err := sh.begin(ctx); err != nil {
		return err
	}
	err = sh.live(ctx)
	if err == nil {
		err = sh.still(ctx)
	}
	return sh.end(err)
}

// described is what Config.Describe gave.
type described struct {
	blobs []Blob
	err   error
}

// describe asks for the blobs that do not come from the guest's memory while that is
// read: asking xenstored takes its time.
func (sh *shot) describe(ctx context.Context) {
	sh.blobs = make(chan described, 1)
	ask := sh.src.cfg.Describe
	if ask == nil {
		close(sh.blobs)
		return
	}
	go func() {
		blobs, err := ask(ctx)
		sh.blobs <- described{blobs, err}
	}()
}

// begin decides how changes are found and opens the image.
func (sh *shot) begin(ctx context.Context) error {
	s := sh.src
	sh.cond.Method = "full"
	if s.parent != 0 {
		sh.cond.Method = "hash"
	}
	if s.log != nil {
		err := s.log.ensure(ctx)
		switch {
		case err == nil:
			sh.tracked = true
			if s.parent != 0 && s.logged {
				sh.cond.Method = "log-dirty+grants"
			}
		case errors.Is(err, errLost):
			sh.tracked, s.logged = true, false
			s.event("tracking-lost", "reason", err.Error())
		default:
			s.event("tracking-unavailable", "reason", err.Error(), "instead", string(TrackHash))
			err = s.log.end()
			s.log = nil
			if err != nil {
				return err
			}
		}
	}
	s.hashes.grow(sh.layout.pages)
	b := format.SnapshotBegin{Parent: s.parent, Pages: max(sh.layout.pages, s.pages)}
	b.Time, b.Stream = sh.cond.CopyStart, s.stream
	w, err := s.sink.BeginSnapshot(b)
	if err != nil {
		return err
	}
	sh.w, sh.limit = w, b.Pages
	sh.stated = newBitset(b.Pages)
	sh.to = statements{tape: w, failed: func(err error) { s.event("spool-failed", "reason", err.Error()) }}
	if sh.to.spool, err = w.Spool(); err != nil {
		sh.to.failed(err)
	}
	sh.stash = stash{room: s.cfg.StashBytes / format.PageSize, to: &sh.to}
	return nil
}

// live copies while the guest runs.
func (sh *shot) live(ctx context.Context) error {
	s := sh.src
	incremental := sh.cond.Method == "log-dirty+grants"
	var dirty bitset
	if sh.tracked {
		sh.again = newBitset(sh.layout.pages)
		// Everything up to here is read below; what comes later is in the next reading.
		dirty = newBitset(sh.layout.pages)
		if err := s.log.read(sh.layout.pages, true, dirty); err != nil {
			return err
		}
	}
	sh.hot = newBitset(sh.layout.pages)
	var err error
	if incremental {
		err = sh.copyChanged(ctx, dirty)
	} else {
		err = sh.copyAll(ctx)
	}
	if err != nil {
		return err
	}
	s.logged = sh.tracked
	if incremental && s.cfg.AuditEvery > 0 && s.sinceAudit+1 >= s.cfg.AuditEvery {
		return sh.audit(ctx, dirty)
	}
	return nil
}

// copyChanged copies what the dirty log calls changed, and what it does not know of,
// which is added to it.
func (sh *shot) copyChanged(ctx context.Context, dirty bitset) error {
	if err := sh.located(); err != nil {
		return err
	}
	if err := sh.addGranted(dirty); err != nil {
		return err
	}
	sh.addAppeared(dirty)
	return sh.copyLive(ctx, dirty)
}

// copyAll copies all pages, each extent as soon as it is known which it has.
func (sh *shot) copyAll(ctx context.Context) error {
	if sh.asking.known == nil {
		return sh.copyLive(ctx, sh.layout.present)
	}
	part := newBitset(sh.layout.pages)
	for e := range sh.asking.known {
		from, to := e.Start/64, (e.Start+e.Count+63)/64
		copy(part[from:to], sh.layout.present[from:to])
		if err := sh.copyLive(ctx, part); err != nil {
			return err
		}
		clear(part[from:to])
	}
	if err := sh.located(); err != nil {
		return err
	}
	sh.addShared(part)
	return sh.copyLive(ctx, part)
}

// copyLive copies pages while the guest runs.
func (sh *shot) copyLive(ctx context.Context, set bitset) error {
	s := sh.src
	start := s.cfg.Clock.Now()
	stated := gather{to: &sh.to}
	s.reader.over = stated.over
	err := sh.read(ctx, set, nil, sh.copyPage(stated.put))
	s.reader.over = nil
	sh.reading += s.cfg.Clock.Now() - start
	return err
}

// addGranted adds the frames that backends may write without Xen noting it.
func (sh *shot) addGranted(set bitset) error {
	g, err := sh.src.cfg.Xen.Grants(sh.info.Domain)
	if err != nil {
		return err
	}
	g.Writable(set.add)
	sh.addShared(set)
	return nil
}

// addShared adds the frames that Xen itself writes.
func (sh *shot) addShared(set bitset) {
	for _, n := range sh.layout.shared {
		set.add(n)
	}
}

// addAppeared adds pages that have a frame now and had none known.
func (sh *shot) addAppeared(set bitset) {
	sh.layout.present.all(func(n uint64) bool {
		if sh.src.hashes.sums[n] == 0 {
			set.add(n)
		}
		return true
	})
}

// audit reads everything that the dirty log called unchanged, counts what changed
// nevertheless, and puts it into the snapshot. It runs while the guest does: what
// the guest writes meanwhile is in the log by the time it is looked at.
func (sh *shot) audit(ctx context.Context, known bitset) error {
	s := sh.src
	rest := newBitset(sh.layout.pages)
	sh.layout.present.all(func(n uint64) bool {
		if !known.has(n) {
			rest.add(n)
		}
		return true
	})
	changed := newBitset(sh.layout.pages)
	err := sh.read(ctx, rest, nil, func(n uint64, p *page) error {
		sh.cond.Examined++
		if p.data != nil {
			changed.add(n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	explained := newBitset(sh.layout.pages)
	if err := s.log.read(sh.layout.pages, false, explained); err != nil {
		return err
	}
	if err := sh.addGranted(explained); err != nil {
		return err
	}
	sh.cond.Missed, sh.audited = 0, true
	changed.all(func(n uint64) bool {
		sh.again.add(n)
		if !explained.has(n) {
			sh.cond.Missed++
		}
		return true
	})
	if sh.cond.Missed > 0 {
		s.event("tracking-missed", "pages", fmt.Sprint(sh.cond.Missed))
	}
	return nil
}

// read reads pages: those that are as they were are passed over, others visited.
func (sh *shot) read(ctx context.Context, set bitset, between func() error, visit visitor) error {
	r := &sh.src.reader
	r.known, r.unchanged = sh.src.hashes, 0
	err := r.read(ctx, sh.layout, set, between, visit)
	sh.cond.Examined += r.unchanged
	return err
}

// copyPage is the visitor that stores what differs from what is known.
func (sh *shot) copyPage(put func(page uint64, data []byte) error) visitor {
	s := sh.src
	return func(n uint64, p *page) error {
		sh.cond.Examined++
		if p.data == nil {
			return sh.unread(n)
		}
		if !s.hashes.set(n, p.sum) {
			return nil
		}
		sh.stated.add(n)
		sh.hot.add(n)
		if p.zero {
			return sh.to.State(format.Extent{Start: n, Count: 1}, format.PageZero)
		}
		return put(n, p.data)
	}
}

// unread states why a page has no content: it went away since it was seen, or it
// cannot be read.
func (sh *shot) unread(n uint64) error {
	st := format.PageUnreadable
	if sh.layout.p2m == nil {
		types, err := sh.src.cfg.Xen.PageTypes(sh.info.Domain, []uint64{n})
		if err == nil && types[0] == xenabi.PageTypeInvalid {
			st = format.PageAbsent
		}
	}
	if st == format.PageUnreadable {
		sh.failed++
	}
	if sh.src.hashes.drop(n) {
		sh.stated.add(n)
	}
	return sh.to.State(format.Extent{Start: n, Count: 1}, st)
}

// still pauses the guest and reads again what may have changed.
func (sh *shot) still(ctx context.Context) error {
	s := sh.src
	budget := s.cfg.PauseBudget
	sh.cond.PauseCall = s.cfg.Clock.Now()
	if err := s.cfg.Pauser.Pause(s.cfg.Domain, budget); err != nil {
		sh.cond.PauseCall = 0
		sh.cond.Fuzzy = true
		s.event("pause-failed", "reason", err.Error())
		sh.state = readState(s.cfg.Xen, sh.info)
		return nil
	}
	sh.cond.PauseDone = s.cfg.Clock.Now()
	// A tenth of the budget is kept for the way back.
	deadline := sh.cond.PauseCall + budget.Nanoseconds()*9/10
	err := sh.quiet(ctx, deadline)
	if err == nil {
		err = sh.consistent(ctx, deadline)
	}
	sh.cond.CopyEnd = s.cfg.Clock.Now()
	sh.cond.InFlight = s.inFlight()
	unpaused := s.cfg.Pauser.Unpause(s.cfg.Domain)
	sh.cond.Unpause = s.cfg.Clock.Now()
	sh.cond.Paused = unpaused == nil && !sh.cond.Fuzzy
	if unpaused != nil {
		sh.cond.Fuzzy = true
		var early interface{ PauseEnded() int64 }
		if errors.As(unpaused, &early) {
			sh.cond.Unpause = early.PauseEnded()
		}
		s.event("pause-ended-early", "reason", unpaused.Error())
	}
	return err
}

// quietFor is how long backends must have nothing in flight.
const quietFor = 20 * time.Millisecond

// quiet waits until no backend changes memory: requests that were on the rings are
// still served while the guest is paused.
func (sh *shot) quiet(ctx context.Context, deadline int64) error {
	s := sh.src
	if s.cfg.Backends == nil || len(s.cfg.Backends()) == 0 {
		return nil // never known to be
	}
	now := s.cfg.Clock.Now()
	limit := min(deadline, now+s.cfg.QuietWait.Nanoseconds())
	since := now
	for now < limit {
		if s.inFlight() > 0 {
			since = now
		} else if now-since >= quietFor.Nanoseconds() {
			sh.cond.Quiesced, sh.cond.Quiet = true, now
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
		now = s.cfg.Clock.Now()
	}
	return nil
}

// consistent reads contexts and pages while the guest stands still. It marks the
// snapshot fuzzy when the deadline comes first.
func (sh *shot) consistent(ctx context.Context, deadline int64) error {
	s := sh.src
	sh.state = readState(s.cfg.Xen, sh.info)
	sh.state.lacks("pages that Xen shares with the guest", sh.layout.unasked)
	if err := sh.planAgain(ctx); err != nil {
		return err
	}
	intime := func() error {
		if s.cfg.Clock.Now() >= deadline {
			return errStop
		}
		return nil
	}
	visit := sh.copyPage(sh.stash.put)
	var err error
	if sh.tracked {
		if err := s.log.read(sh.layout.pages, true, sh.again); err != nil {
			return err
		}
		sh.state.grants.Writable(sh.again.add)
		sh.addShared(sh.again)
		sh.addAppeared(sh.again)
		err = sh.read(ctx, sh.again, intime, visit)
	} else {
		err = sh.everything(ctx, deadline, intime, visit)
	}
	if errors.Is(err, errStop) {
		sh.cond.Fuzzy = true
		s.logged = false // the log was cleared and not all of it was read
		return nil
	}
	return err
}

// everything reads all pages again, those that changed lately first. When the live
// pass says that the budget will not do, the rest is not begun: it would only make
// the guest wait for a snapshot that is fuzzy anyway.
func (sh *shot) everything(ctx context.Context, deadline int64, intime func() error, visit visitor) error {
	rest := newBitset(sh.layout.pages)
	first := newBitset(sh.layout.pages)
	split := sh.src.parent != 0 // of a first snapshot all pages are new
	sh.layout.present.all(func(n uint64) bool {
		if split && sh.hot.has(n) {
			first.add(n)
		} else {
			rest.add(n)
		}
		return true
	})
	if err := sh.read(ctx, first, intime, visit); err != nil {
		return err
	}
	// The live pass of a first snapshot copied all pages, which takes twice as long as
	// comparing them; that of a later one compared them, as this does.
	need := sh.reading / 2
	if split {
		need = sh.reading * 9 / 10
	}
	if left := deadline - sh.src.cfg.Clock.Now(); need > left && left > 0 {
		return errStop
	}
	return sh.read(ctx, rest, intime, visit)
}

// planAgain looks where memory is now that the guest stands still. A PV guest's map
// may have changed at any time; of others only the number of frames is compared,
// because asking about each takes as long as reading.
func (sh *shot) planAgain(ctx context.Context) error {
	s := sh.src
	info, err := s.cfg.Xen.DomainInfo(s.cfg.Domain)
	if err != nil {
		return err
	}
	if info.HVM() && info.TotalPages == sh.layout.total {
		return nil
	}
	l, err := plan(ctx, s.cfg.Xen, info, s.cfg.AllowPoD)
	if err != nil {
		return err
	}
	if l.pages > sh.limit || l.pages > sh.layout.pages && sh.tracked {
		// Memory appeared beyond the image's end: the next snapshot will have it.
		sh.cond.Fuzzy = true
		return nil
	}
	s.hashes.grow(l.pages)
	if l.pages > sh.layout.pages {
		sh.hot = append(sh.hot, make(bitset, len(newBitset(l.pages))-len(sh.hot))...)
	}
	sh.layout = l
	return nil
}

// end states what has no content, writes what was kept back, and closes the image.
func (sh *shot) end(failed error) error {
	s := sh.src
	err := errors.Join(failed, sh.stash.drain())
	if err == nil {
		err = sh.states()
	}
	if err == nil && sh.state != nil {
		err = sh.attach()
	}
	if sh.cond.CopyEnd == 0 {
		sh.cond.CopyEnd = s.cfg.Clock.Now()
	}
	sh.cond.Complete = err == nil
	sh.cond.Changed = sh.stated.count()
	if err == nil {
		e := format.SnapshotEnd{Conditions: sh.cond}
		e.Time = s.cfg.Clock.Now()
		err = sh.to.whole(e)
	}
	sh.captured = s.cfg.Clock.Now()
	err = errors.Join(err, s.reader.done(), sh.to.settle())
	sh.cond.Complete = err == nil
	e := format.SnapshotEnd{Conditions: sh.cond}
	e.Time = s.cfg.Clock.Now()
	if werr := errors.Join(sh.w.End(e), sh.to.release()); werr != nil {
		return errors.Join(err, werr)
	}
	s.settle(sh, err)
	return err
}

// states states pages that exist and are not read, and pages that went away.
func (sh *shot) states() error {
	for _, r := range sh.layout.states {
		for n := r.Start; n < r.Start+r.Count; n++ {
			if sh.src.hashes.drop(n) {
				sh.stated.add(n)
			}
		}
		if err := sh.to.State(r.Extent, r.state); err != nil {
			return err
		}
	}
	for n, sum := range sh.src.hashes.sums {
		if page := uint64(n); sum != 0 && !sh.layout.present.has(page) {
			sh.src.hashes.drop(page)
			sh.stated.add(page)
			if err := sh.to.State(format.Extent{Start: page, Count: 1}, format.PageAbsent); err != nil {
				return err
			}
		}
	}
	return nil
}

// attach writes the blobs that belong to the snapshot.
func (sh *shot) attach() error {
	s := sh.src
	if sh.layout.p2m != nil {
		sh.state.add("xen/p2m", p2mBlob(sh.layout), nil)
	}
	more := <-sh.blobs
	sh.state.lacks("description", more.err)
	for _, b := range append(sh.state.blobs, more.blobs...) {
		a := format.Attachment{Snapshot: sh.w.ID(), Name: b.Name, Data: b.Data}
		a.Stream, a.Time = s.stream, sh.cond.CopyEnd
		if b.Name == "xen/grant-table" {
			a.Attrs = []format.Attr{{Name: "version", Value: fmt.Sprint(sh.state.grants.Version)}}
		}
		if err := s.sink.Write(&a); err != nil {
			return err
		}
	}
	if sh.failed > 0 {
		s.event("pages-unreadable", "snapshot", fmt.Sprint(sh.w.ID()), "readings", fmt.Sprint(sh.failed))
	}
	for _, m := range sh.state.missing {
		s.event("snapshot-part-missing", "snapshot", fmt.Sprint(sh.w.ID()), "part", m.part, "reason", m.err.Error())
	}
	return nil
}
