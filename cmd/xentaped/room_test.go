package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/format"
)

// A recording whose file system fills up stops, says so, and goes on when there is room.
func TestFullDiskIsAGapAndRecordingGoesOn(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	guest := fakexen.NewHVM(5, 0, 1, 2, 3, 700)
	store := fakexen.NewStore(map[string]string{"/local/domain/5/name": "web", "/libxl/5/type": "pvh", "/local/domain/0/name": "Domain-0"})
	h, err := host.On(fakexen.NewHost(guest), store.Dial())
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	go guard.Serve(theirs, h.Xen, guard.Marks(stateDir()))
	clock, err := capture.NewClock()
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "web.xtape")
	tape, err := createTape(name, tapeOptions{}, clock)
	require.NoError(t, err)
	left, err := tape.room()
	require.NoError(t, err)
	require.Positive(t, left)
	s := &session{
		host: h, privs: &privileges{}, guard: guard.NewClient(ours, h.Xen), clock: clock, uuid: guest.UUID, started: time.Now(),
		recorder: capture.NewRecorder(tape, clock, capture.RecorderOptions{}),
		console:  &console{io.Discard, io.Discard}, devices: map[string]capture.Source{},
		want: sources{memory: true, memConfig: memory.Config{PauseBudget: time.Minute}},
	}
	g, err := h.Find(t.Context(), "web")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	running, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.recorder.Run(running) }()
	s.start(ctx, g, 0)
	require.NoError(t, s.snapshot(ctx))

	var room atomic.Int64
	go func() {
		defer end()
		s.watchRoom(ctx, func() (int64, error) { return room.Load(), nil }, 1000)
	}()
	// A snapshot asked for before the sources were stopped may be begun, and on the tape.
	stopped := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.fullSince != 0 && s.mem == nil
	}
	require.Eventually(t, stopped, 30*time.Second, 10*time.Millisecond)
	require.ErrorIs(t, s.snapshot(ctx), errNoMemory)
	room.Store(1500) // room, but not enough to begin again
	time.Sleep(1200 * time.Millisecond)
	require.NotZero(t, s.full())
	room.Store(2000)
	require.Eventually(t, func() bool { return s.snapshot(ctx) == nil }, 30*time.Second, 10*time.Millisecond)
	room.Store(0)
	require.Eventually(t, func() bool { return s.full() != 0 }, 30*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)

	rd := openTape(t, name)
	require.True(t, rd.Sealed())
	require.Len(t, rd.Snapshots(), 2)
	require.Len(t, rd.Gaps(), 2, "one that ended, and one that the recording ended in")
	for _, gap := range rd.Gaps() {
		require.Equal(t, format.GapDiskFull, gap.Reason)
		require.Less(t, gap.From, gap.To)
	}
}

// short is a file system with room for some bytes.
type short struct {
	mu   sync.Mutex
	room int
	has  []byte
}

func (s *short) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(b), s.room)
	s.room -= n
	s.has = append(s.has, b[:n]...)
	if n < len(b) {
		return n, &os.PathError{Op: "write", Path: "web.xtape", Err: unix.ENOSPC}
	}
	return n, nil
}

func (s *short) Truncate(size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has = s.has[:size]
	return nil
}

func (s *short) free(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room += n
}

// A file system that is full before it was noticed is waited for, until the recording is
// to end.
func TestWritesWaitForRoom(t *testing.T) {
	s := &short{room: 4}
	w := &tapeWriter{to: s, patient: true, hurry: make(chan struct{})}
	done := make(chan error, 1)
	write := func(text string) {
		go func() {
			n, err := io.WriteString(w, text)
			if err == nil && n != len(text) {
				err = io.ErrShortWrite
			}
			done <- err
		}()
	}
	write("a tape")
	select {
	case err := <-done:
		require.Fail(t, "written without room", "%v", err)
	case <-time.After(2 * roomAgain):
	}
	s.free(4)
	require.NoError(t, <-done)
	require.Equal(t, "a tape", string(s.has))
	write(" and more")
	time.Sleep(2 * roomAgain)
	close(w.hurry)
	require.ErrorIs(t, <-done, unix.ENOSPC)
	require.Equal(t, "a tape", string(s.has), "no part of a chunk")
}
