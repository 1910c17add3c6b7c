package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/lifecycle"
	"github.com/xentape/xentape/capture/ring"
	"github.com/xentape/xentape/format"
)

// recorderSet is the flight recorder of a host: one flight for each guest, and the
// ring they share.
type recorderSet struct {
	config  *config
	host    *host.Host
	privs   *privileges
	guard   *guard.Client
	clock   *capture.Clock
	ring    *ring.Ring
	console *console
	shares  *shares
	look    time.Duration // how often to look for new guests, and at the limits

	mu      sync.Mutex
	open    map[string]bool    // segments being written
	flights map[uint16]*flight // by domain
	refused map[uint16]bool    // domains that the operator was told are beyond the limit of memory
	rebase  map[string]bool    // guests whose next segment takes images, whatever went before

	expiring sync.Mutex     // the ring's segments and images are being changed
	keeping  sync.WaitGroup // images being put beside pinned tapes
}

// overlap is how long two segments of a guest are both written, so that nothing
// falls between them.
const overlap = 2 * time.Second

// retry is how long a guest waits after a segment failed.
const retry = 10 * time.Second

// flight records one guest, segment after segment.
type flight struct {
	set   *recorderSet
	guest *host.Guest

	mu      sync.Mutex
	current *session // nil between segments
	tape    *tapeFile
	path    string
	failed  *format.Gap // what the next segment has to tell; nil: nothing
}

// fly records until ctx ends or the guest is gone.
func (f *flight) fly(ctx context.Context) {
	socket, err := listen(socketPath(f.guest.UUID))
	if err != nil {
		f.set.console.notef("%s: %v", f.guest.Name, err)
		return
	}
	defer socket.Close()
	go serve(ctx, socket, f.handle)
	var segments sync.WaitGroup
	defer segments.Wait()
	endBefore := func() {} // ends the segment before this one
	defer func() { endBefore() }()
	for ctx.Err() == nil && f.set.exists(f.guest) {
		life, end := context.WithCancel(ctx)
		begun, done := make(chan struct{}), make(chan error, 1)
		segments.Go(func() {
			defer end()
			done <- f.segment(life, begun, end)
		})
		// The segment before ends when this one is being recorded, a little later.
		before := endBefore
		over, err := f.lasts(ctx, begun, done, func() {
			segments.Go(func() {
				sleep(ctx, overlap)
				before()
			})
		})
		if endBefore = end; over {
			before()
			end()
			if err != nil {
				sleep(ctx, retry)
			}
		}
	}
}

// lasts waits until a segment is as long as it is to be, counted from when it is being
// recorded, when recorded is called: the next one goes on from it. over says that it
// ended before.
func (f *flight) lasts(ctx context.Context, begun <-chan struct{}, done <-chan error, recorded func()) (over bool, err error) {
	var due <-chan time.Time
	for {
		select {
		case <-begun:
			begun, due = nil, time.After(f.set.config.Segment)
			recorded()
		case err := <-done:
			return true, err
		case <-due:
			return false, nil
		case <-ctx.Done():
			return false, nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// failure notes that a segment ended before its time, for the next one to tell.
func (f *flight) failure(err error) {
	f.set.console.notef("%s: %v", f.guest.Name, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = &format.Gap{From: f.set.clock.Now()}
	}
	f.failed.Reason, f.failed.Count, f.failed.Detail = format.GapUnknown, format.Unknown, err.Error()
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, errNoRoom) {
		f.failed.Reason = format.GapDiskFull
	}
}

// segment records one tape, until ctx ends or the guest is gone, and notes when that
// fails. begun is closed when it is being recorded.
func (f *flight) segment(ctx context.Context, begun chan<- struct{}, end func()) error {
	noted := false
	failed := func(err error) {
		noted = true
		f.failure(err)
	}
	err := f.record(ctx, begun, end, failed)
	if err != nil && !noted {
		f.failure(err)
	}
	return err
}

// record is segment, but for failures other than those of the tape while it is written,
// of which failed is told at once.
func (f *flight) record(ctx context.Context, begun chan<- struct{}, end func(), failed func(error)) error {
	set := f.set
	if need, err := set.shortage(); err != nil {
		return err
	} else if need > 0 { // do not wait for the look at the limits that is due
		if err := set.makeRoom(); err != nil {
			return err
		}
	}
	path, err := set.ring.Create(host.FormatUUID(f.guest.UUID), time.Now())
	if err != nil {
		return err
	}
	share := set.shares.tape(set.recorded())
	tape, err := createTape(path, tapeOptions{
		recipients: set.config.Recipients, signKey: set.config.Sign, memory: share,
		spool: int64(set.config.Spool), reserve: int64(set.config.Reserve),
	}, set.clock)
	if err != nil {
		return err
	}
	set.writing(path, true)
	defer set.writing(path, false)
	recorder := capture.NewRecorder(tape, set.clock, capture.RecorderOptions{Report: set.console.notef, Failed: func(err error) {
		failed(err)
		f.tellLater(tape)
	}})
	before := f.predecessor()
	s := &session{
		host: set.host, privs: set.privs, guard: set.guard, recorder: recorder, clock: set.clock, want: set.config.sources(share),
		shares: set.shares, console: set.console, uuid: f.guest.UUID, started: time.Now(), devices: map[string]capture.Source{},
		gone: end, lineage: lineage{tape: filepath.Base(path), before: before},
	}
	startEvent(recorder, f.guest, format.Attr{Name: "mode", Value: "flight"}, set.privs.attr())
	told, err := f.tell(tape.Write)
	if err != nil {
		return errors.Join(err, tape.Close())
	}
	s.add(ctx, lifecycle.New(lifecycle.Config{Directory: set.host.Directory, Clock: set.clock, UUID: f.guest.UUID, OnChange: s.changed}))
	s.start(ctx, f.guest, 0)
	late, err := f.tell(tape.Write) // the segment before may have failed meanwhile
	if err != nil {
		return errors.Join(err, recorder.Run(ctx))
	}
	if ctx.Err() != nil && before != nil && !told && !late {
		// Ended before it was begun: the segment before has all that there is, and what
		// this one goes on from is not known.
		return errors.Join(recorder.Run(ctx), os.Remove(path))
	}
	f.mu.Lock()
	f.current, f.tape, f.path = s, tape, path
	f.mu.Unlock()
	close(begun)
	err = recorder.Run(ctx)
	s.end(err)
	return err
}

// predecessor is the segment from which the next one may go on.
func (f *flight) predecessor() *session {
	guest := host.FormatUUID(f.guest.UUID)
	f.set.mu.Lock()
	anew := f.set.rebase[guest]
	delete(f.set.rebase, guest)
	f.set.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if anew {
		return nil
	}
	return f.current
}

// tell puts on a tape that a segment before it failed, if one did. What cannot be told is
// left to the next.
func (f *flight) tell(write func(format.Record) error) (told bool, err error) {
	gap := f.takeFailure()
	if gap == nil {
		return false, nil
	}
	gap.To = f.set.clock.Now()
	gap.Time = gap.To
	if err := write(gap); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failed = gap
		return false, err
	}
	return true, nil
}

// tellLater puts that a segment failed on the tape of a later one, if that is being
// recorded already.
func (f *flight) tellLater(failed *tapeFile) {
	f.mu.Lock()
	later := f.tape
	f.mu.Unlock()
	if later != nil && later != failed {
		_, _ = f.tell(later.Write) // what fails is left to the next
	}
}

func (f *flight) takeFailure() *format.Gap {
	f.mu.Lock()
	defer f.mu.Unlock()
	gap := f.failed
	f.failed = nil
	return gap
}

// snapshot takes a snapshot now, onto the next segment when the one being recorded
// ends meanwhile.
func (f *flight) snapshot(ctx context.Context) error {
	var tried *session
	err := errNoMemory
	for ctx.Err() == nil {
		f.mu.Lock()
		s := f.current
		f.mu.Unlock()
		if s == tried || s == nil {
			break
		}
		if err = s.snapshot(ctx); err == nil {
			break
		}
		tried = s
	}
	return err
}

// handle answers on the guest's control socket.
func (f *flight) handle(ctx context.Context, c command) answer {
	f.mu.Lock()
	s := f.current
	f.mu.Unlock()
	if s == nil {
		return answer{Error: "no segment is being recorded"}
	}
	st := func() *status {
		f.mu.Lock()
		s, tape, path := f.current, f.tape, f.path
		f.mu.Unlock()
		st := &status{Guest: f.guest.Name, Tape: path, Bytes: tape.size()}
		if k, err := keptBelow(filepath.Dir(path)); err == nil {
			st.Kept = &k
		} else {
			f.set.console.notef("%s: what is kept of it: %v", f.guest.Name, err)
		}
		s.fill(st)
		return st
	}
	if c.Verb != "trigger" {
		return s.handle(ctx, c, f.snapshot, st)
	}
	since := time.Now().Add(-time.Duration(c.Keep))
	s.recorder.Event("trigger", "keep", time.Duration(c.Keep).String())
	err := f.snapshot(ctx)
	if errors.Is(err, errNoMemory) {
		err = nil
	}
	pinned, perr := f.set.ring.Pin(host.FormatUUID(f.guest.UUID), since, f.set.written())
	if f.set.config.Base == baseRolling && len(pinned) > 0 {
		f.set.keeping.Go(func() {
			if err := f.set.keepImages(context.WithoutCancel(ctx), host.FormatUUID(f.guest.UUID), pinned[0]); err != nil {
				f.set.console.notef("%s: %v", f.guest.Name, err)
			}
		})
	}
	if err = errors.Join(err, perr); err != nil {
		return answer{Error: err.Error(), Status: st(), Pinned: pinned}
	}
	return answer{Status: st(), Pinned: pinned}
}

func (r *recorderSet) writing(path string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.open[path] = true
	} else {
		delete(r.open, path)
	}
}

// written are the segments being written.
func (r *recorderSet) written() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.open)
}

// exists says whether the guest is still there.
func (r *recorderSet) exists(g *host.Guest) bool {
	info, err := r.host.Xen.DomainInfo(g.Domain)
	return err == nil && info.Handle == g.UUID && !info.Gone()
}

// errNoRoom says that the file system is full of what may not be given up.
var errNoRoom = errors.New("the file system has no room left beside its reserve, and nothing may be given up")

// makeRoom gives up what the limits say, and more if the file system demands it.
func (r *recorderSet) makeRoom() error {
	r.expiring.Lock()
	defer r.expiring.Unlock()
	need, err := r.shortage()
	if err != nil {
		return err
	}
	var release func(ring.Segment)
	if r.config.Base == baseRolling {
		release = r.fold
	}
	gone, err := r.ring.Expire(time.Now(), need, r.written(), release)
	if err != nil {
		return err
	}
	for _, s := range gone {
		if !s.Pinned {
			need -= s.Bytes
		}
	}
	if need > 0 {
		return errNoRoom
	}
	return nil
}

// shortage is what the file system lacks of its reserve, in bytes; at most 0 when
// nothing.
func (r *recorderSet) shortage() (int64, error) {
	free, err := freeBytes(r.config.Directory)
	return int64(r.config.Reserve) - free, err
}

// freeBytes is what a file system has room for.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
