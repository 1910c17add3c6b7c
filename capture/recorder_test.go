package capture_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/format"
)

// ticker is a source that puts marks on the tape.
type ticker struct {
	name   string
	refuse error
	fail   error
	sink   capture.Sink
	closed bool
}

func (s *ticker) Name() string { return s.name }

func (s *ticker) Attach(_ context.Context, sink capture.Sink) error {
	s.sink = sink
	return s.refuse
}

func (s *ticker) Run(ctx context.Context) error {
	for s.fail == nil {
		if err := s.sink.Write(&format.Mark{Text: s.name}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			// A source accounts for its losses at the end.
			return s.sink.Write(&format.Gap{Reason: format.GapDetached, Count: 1})
		case <-time.After(time.Millisecond):
		}
	}
	return s.fail
}

func (s *ticker) Close() error { s.closed = true; return nil }

// lingerer is a source that takes until then to end.
type lingerer struct {
	until   <-chan struct{}
	impeded bool // it did not come
}

func (s *lingerer) Name() string                               { return "lingerer" }
func (s *lingerer) Attach(context.Context, capture.Sink) error { return nil }
func (s *lingerer) Close() error                               { return nil }

func (s *lingerer) Run(ctx context.Context) error {
	<-ctx.Done()
	select {
	case <-s.until:
	case <-time.After(10 * time.Second):
		s.impeded = true
	}
	return nil
}

// file is a tape's file that fails at a size.
type file struct {
	mu  sync.Mutex
	b   bytes.Buffer
	max int
}

func (f *file) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.max > 0 && f.b.Len()+len(p) > f.max {
		return 0, errors.New("no space left on device")
	}
	return f.b.Write(p)
}

func (f *file) bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.Clone(f.b.Bytes())
}

func recording(t *testing.T, w io.Writer) (*capture.Recorder, *[]string) {
	return recordingThat(t, w, nil)
}

// recordingThat is recording that tells when its tape fails.
func recordingThat(t *testing.T, w io.Writer, failed func(error)) (*capture.Recorder, *[]string) {
	clock, err := capture.NewClock()
	require.NoError(t, err)
	tape, err := format.NewWriter(w, format.WriterOptions{Producer: "test", Start: clock.Anchor()})
	require.NoError(t, err)
	var mu sync.Mutex
	var said []string
	return capture.NewRecorder(tape, clock, capture.RecorderOptions{
		FlushEvery: 5 * time.Millisecond, AnchorEvery: 5 * time.Millisecond, CheckpointEvery: 20 * time.Millisecond,
		Report: func(f string, _ ...any) { mu.Lock(); defer mu.Unlock(); said = append(said, f) },
		Failed: failed,
	}), &said
}

func open(t *testing.T, b []byte) (*format.Reader, map[string]int) {
	rd, err := format.Open(bytes.NewReader(b), int64(len(b)), format.ReaderOptions{})
	require.NoError(t, err)
	seen := map[string]int{}
	for rec, err := range rd.Records(format.Query{}) {
		require.NoError(t, err)
		switch r := rec.(type) {
		case *format.Mark:
			seen[r.Text]++
		case *format.Event:
			seen[r.Kind]++
		case *format.Gap:
			seen["gap"]++
		}
	}
	return rd, seen
}

func TestRecorderMergesSourcesAndSeals(t *testing.T) {
	var f file
	r, _ := recording(t, &f)
	a, b := &ticker{name: "a"}, &ticker{name: "b"}
	no := &ticker{name: "no", refuse: errors.New("not here")}
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, r.Add(ctx, a))
	require.NoError(t, r.Add(ctx, b))
	require.ErrorContains(t, r.Add(ctx, no), "no is not recorded: not here")
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	time.Sleep(50 * time.Millisecond)
	r.Remove(b)
	require.True(t, b.closed)
	r.Remove(b) // nothing more to do
	cancel()
	require.NoError(t, <-done)
	require.True(t, a.closed)
	require.True(t, no.closed)
	rd, seen := open(t, f.bytes())
	require.True(t, rd.Sealed())
	require.Positive(t, seen["a"])
	require.Positive(t, seen["b"])
	require.Equal(t, 2, seen["gap"], "a source's last words are on the tape")
	require.Equal(t, 1, seen["source-unavailable"])
	require.Equal(t, 1, seen["recording-ended"])
	require.Greater(t, len(rd.Anchors()), 2)
}

func TestSourceThatFailsIsAnEventAndTheOthersGoOn(t *testing.T) {
	var f file
	r, said := recording(t, &f)
	bad, good := &ticker{name: "bad", fail: errors.New("broke")}, &ticker{name: "good"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, r.Add(ctx, bad))
	require.NoError(t, r.Add(ctx, good))
	require.NoError(t, r.Run(ctx))
	_, seen := open(t, f.bytes())
	require.Equal(t, 1, seen["source-failed"])
	require.Positive(t, seen["good"])
	require.NotEmpty(t, *said)
}

func TestTapeIsReadableAtAnyMoment(t *testing.T) {
	var f file
	r, _ := recording(t, &f)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, r.Add(ctx, &ticker{name: "a"}))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	last := 0
	for range 20 { // each is what a kill -9 at that moment leaves
		time.Sleep(7 * time.Millisecond)
		rd, seen := open(t, f.bytes())
		require.False(t, rd.Sealed())
		require.GreaterOrEqual(t, seen["a"], last)
		last = seen["a"]
	}
	require.Positive(t, last)
	cancel()
	require.NoError(t, <-done)
}

func TestFullDiskEndsTheRecordingNotTheTape(t *testing.T) {
	f := file{max: 6000}
	told := make(chan struct{})
	r, _ := recordingThat(t, &f, func(err error) {
		require.ErrorContains(t, err, "no space left")
		close(told)
	})
	a, slow := &ticker{name: "a"}, &lingerer{until: told}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, r.Add(ctx, a))
	require.NoError(t, r.Add(ctx, slow))
	require.ErrorContains(t, r.Run(ctx), "no space left")
	require.False(t, slow.impeded, "that the tape failed is told before the sources end")
	require.NoError(t, ctx.Err())
	require.True(t, a.closed)
	_, seen := open(t, f.bytes())
	require.Positive(t, seen["a"])
}
