package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/format"
)

// A full disk is a gap, not a crash: while the file system of a tape has less room
// than the reserve, nothing is recorded; then recording goes on, on the same tape. The
// reserve is room for what is on its way to the tape when that happens.

// full is since when there has been no room; 0: there is.
func (s *session) full() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fullSince
}

func (s *session) setFull(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fullSince = at
}

// watchRoom looks at the room left, with free, and stops and restarts the sources.
func (s *session) watchRoom(ctx context.Context, free func() (int64, error), reserve int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.closeGap()
			return
		case <-tick.C:
		}
		left, err := free()
		if err != nil {
			continue // a file system that does not say is written to until it fails
		}
		switch full := s.full() != 0; {
		case !full && left < reserve:
			s.console.notef("%d bytes are left beside the tape, less than the reserve of %d: nothing is recorded until there is room", left, reserve)
			s.setFull(s.clock.Now())
			s.recorder.Event("recording-suspended", "reason", "disk full")
			s.stop()
		case full && left >= 2*reserve:
			s.closeGap()
			s.console.notef("there is room again: recording goes on")
			s.resume(ctx)
		}
	}
}

// closeGap puts onto the tape that nothing was recorded.
func (s *session) closeGap() {
	from := s.full()
	if from == 0 {
		return
	}
	now := s.clock.Now()
	g := &format.Gap{From: from, To: now, Reason: format.GapDiskFull, Count: format.Unknown, Detail: "nothing was recorded for want of room"}
	g.Time = now
	_ = s.recorder.Tape().Write(g) // a tape that fails is noticed by the recorder
	s.setFull(0)
}

// resume puts the sources up again, as the guest is now.
func (s *session) resume(ctx context.Context) {
	g, err := s.host.ByUUID(ctx, s.uuid)
	if err != nil || g == nil {
		return // gone meanwhile: should it come back, it is recorded as built anew
	}
	s.mu.Lock()
	epoch := s.epoch
	s.mu.Unlock()
	s.start(ctx, g, epoch)
}

// tapeWriter writes the chunks of a tape. One that does not fit leaves nothing of itself
// behind, which a reader would take for damage.
type tapeWriter struct {
	to interface {
		io.Writer
		Truncate(size int64) error
	}
	whole   int64         // bytes of chunks that are there
	patient bool          // wait for room: something else may fill it faster than it is looked at
	hurry   chan struct{} // closed: wait no longer
}

// roomAgain is how long after a file system was full it is tried again.
const roomAgain = 250 * time.Millisecond

// Write waits for room with whoever writes. Sources that wait lose what does not fit
// into their rings, which they tell; the guest waits for nobody.
func (w *tapeWriter) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := w.to.Write(b[done:])
		done += n
		if err == nil {
			w.whole += int64(done)
			return done, nil
		}
		if !w.waits(err) {
			return 0, errors.Join(err, w.to.Truncate(w.whole))
		}
	}
}

// waits waits a little after an error that may pass, and says whether it does.
func (w *tapeWriter) waits(err error) bool {
	if !w.patient || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return false
	}
	select {
	case <-w.hurry:
		return false
	case <-time.After(roomAgain):
		return true
	}
}

// room is what the file system of a tape has left, in bytes.
func (t *tapeFile) room() (int64, error) { return roomOn(t.file) }

func roomOn(f *os.File) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}
