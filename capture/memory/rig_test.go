package memory_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/format"
)

// directPauser pauses without a guard process, and ends a pause early when told to.
type directPauser struct {
	x       *hypercall.Xen
	expire  bool
	tracked map[uint16]bool
	fail    error
}

func (p *directPauser) Pause(d uint16, _ time.Duration) error {
	if p.fail != nil {
		return p.fail
	}
	return p.x.Pause(d)
}

func (p *directPauser) Unpause(d uint16) error {
	if err := p.x.Unpause(d); err != nil {
		return err
	}
	if p.expire {
		return pauseEnded{}
	}
	return nil
}

// pauseEnded is how a guard says that it ended a pause, at 42 ns.
type pauseEnded struct{}

func (pauseEnded) Error() string     { return "the budget was over" }
func (pauseEnded) PauseEnded() int64 { return 42 }

func (p *directPauser) Track(d uint16) error   { p.tracked[d] = true; return nil }
func (p *directPauser) Untrack(d uint16) error { delete(p.tracked, d); return nil }

// rig is a recording of one imaginary guest.
type rig struct {
	t      *testing.T
	host   *fakexen.Host
	pauser *directPauser
	src    *memory.Source
	tape   bytes.Buffer
	spool  spoolFile
	w      *format.Writer
	stop   func()
}

const guestID = 7

func record(t *testing.T, host *fakexen.Host, change func(*memory.Config)) *rig {
	return recordThrough(t, host, host, change)
}

// recordThrough is record with another way to the hypervisor.
func recordThrough(t *testing.T, port hypercall.Port, host *fakexen.Host, change func(*memory.Config)) *rig {
	x, err := hypercall.New(port, hypercall.Options{})
	require.NoError(t, err)
	clock, err := capture.NewClock()
	require.NoError(t, err)
	r := &rig{t: t, host: host, pauser: &directPauser{x: x, tracked: map[uint16]bool{}}}
	r.w, err = format.NewWriter(&r.tape, format.WriterOptions{
		Producer: "test", Start: clock.Anchor(), Spool: &r.spool, SpoolBytes: 1000 * format.PageSize,
	})
	require.NoError(t, err)
	c := memory.Config{Xen: x, Pauser: r.pauser, Clock: clock, Domain: guestID, PauseBudget: time.Minute, Savers: func() bool { return false }}
	if change != nil {
		change(&c)
	}
	r.src = memory.New(c)
	require.NoError(t, r.src.Attach(t.Context(), r.w))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.src.Run(ctx) }()
	r.stop = func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, r.src.Close())
	}
	return r
}

// snapshot takes one snapshot, which must succeed.
func (r *rig) snapshot() format.Conditions {
	r.t.Helper()
	require.NoError(r.t, r.src.Snapshot(r.t.Context()))
	return r.src.Stats().Last
}

// reader ends the recording and opens the tape.
func (r *rig) reader() *format.Reader {
	r.t.Helper()
	r.stop()
	require.NoError(r.t, r.w.Seal())
	rd, err := format.Open(bytes.NewReader(r.tape.Bytes()), int64(r.tape.Len()), format.ReaderOptions{})
	require.NoError(r.t, err)
	require.Empty(r.t, rd.Damage())
	require.Empty(r.t, r.spool.b, "the spool holds nothing that is on the tape")
	state := r.host.State(guestID)
	require.Zero(r.t, state.Pauses, "the guest was left paused")
	require.Zero(r.t, state.Mapped, "frames of the guest were left mapped")
	return rd
}

// requireImage compares a snapshot with what the guest held.
func requireImage(t *testing.T, rd *format.Reader, id uint32, want map[uint64][]byte) {
	t.Helper()
	s, err := rd.Snapshot(id)
	require.NoError(t, err)
	page := make([]byte, format.PageSize)
	var have []uint64
	for _, e := range s.Extents() {
		for n := e.Start; n < e.Start+e.Count; n++ {
			have = append(have, n)
		}
	}
	var expect []uint64
	for n, data := range want {
		st, err := s.ReadPage(n, page)
		require.NoError(t, err)
		require.Contains(t, []format.PageState{format.PageData, format.PageZero}, st, "page %#x", n)
		require.True(t, bytes.Equal(data, page), "page %#x of snapshot %d", n, id)
		expect = append(expect, n)
	}
	slices.Sort(expect)
	require.Equal(t, expect, have)
}

func contents(h *fakexen.Host, pages []uint64) map[uint64][]byte {
	m := map[uint64][]byte{}
	for _, n := range pages {
		m[n] = h.Page(guestID, n)
	}
	return m
}

func sequence(from, to uint64) []uint64 {
	var out []uint64
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

// sparse is the memory of a PVH guest: low memory, a hole, and special pages above it.
func sparse() []uint64 { return append(sequence(0, 3000), 0x5ff0, 0x5ff1, 0x5fff) }

func eventKinds(t *testing.T, rd *format.Reader) []string {
	var kinds []string
	for rec, err := range rd.Records(format.Query{}) {
		require.NoError(t, err)
		if e, ok := rec.(*format.Event); ok {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}
