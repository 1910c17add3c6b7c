package memory_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
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

// Asking about every number is most of the work: of a guest with less than 4 GiB nearly
// all are between its memory and the special pages that the toolstack puts on top.
func TestAskingEndsWhenEveryFrameIsFound(t *testing.T) {
	const most = 1 << 18
	gfns := append(sequence(0, 20_000), most-16, most-1)
	for name, elsewhere := range map[string]uint64{"all its own": 0, "some shared with other domains": 2} {
		t.Run(name, func(t *testing.T) {
			guest := fakexen.NewHVM(guestID, gfns...)
			guest.Elsewhere = elsewhere
			host := fakexen.NewHost(guest)
			r := record(t, host, nil)
			require.True(t, r.snapshot().Complete)
			if asked := host.State(guestID).Scanned; elsewhere == 0 {
				require.Less(t, asked, most/2)
			} else {
				require.Greater(t, asked, most, "the total does not say when all are found")
			}
			requireImage(t, r.reader(), 1, contents(host, gfns))
		})
	}
}

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

func TestSnapshotOfHVMIsWhatTheGuestHolds(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, nil)
	cond := r.snapshot()
	want := contents(host, sparse())
	require.True(t, cond.Paused)
	require.True(t, cond.Complete)
	require.False(t, cond.Fuzzy)
	require.Equal(t, "full", cond.Method)
	require.Equal(t, uint64(format.Unknown), cond.Missed)
	rd := r.reader()
	requireImage(t, rd, 1, want)
	s, err := rd.Snapshot(1)
	require.NoError(t, err)
	require.Equal(t, []string{"xen/grant-table", "xen/hvm-context", "xen/hvm-params", "xen/tsc-info", "xen/vcpu/0"}, s.Attachments())
	st, err := s.ReadPage(5000, make([]byte, format.PageSize))
	require.NoError(t, err)
	require.Equal(t, format.PageAbsent, st)
}

func TestSnapshotOfPVFollowsItsP2M(t *testing.T) {
	holes := []uint64{5, 600, 601}
	for name, hide := range map[string]func(*xenabi.P2MRoot){
		"frame lists": nil,
		"page tables": func(r *xenabi.P2MRoot) { r.FrameListList = xenabi.P2MInvalid },
	} {
		t.Run(name, func(t *testing.T) {
			host := fakexen.NewHost(fakexen.NewPV(guestID, 1500, holes...))
			pages := slices.DeleteFunc(sequence(0, 1500), func(n uint64) bool { return slices.Contains(holes, n) })
			want := contents(host, pages)
			if hide != nil {
				host.EditSharedInfo(guestID, hide)
			}
			r := record(t, host, nil)
			r.snapshot()
			rd := r.reader()
			requireImage(t, rd, 1, want)
			s, err := rd.Snapshot(1)
			require.NoError(t, err)
			p2m, ok := s.Attachment("xen/p2m")
			require.True(t, ok)
			require.Len(t, p2m, 8*1500)
			require.Equal(t, bytes.Repeat([]byte{0xff}, 8), p2m[8*5:8*6])
			require.Contains(t, s.Attachments(), "xen/shared-info")
		})
	}
}

func TestLyingPVGuestIsRefused(t *testing.T) {
	for name, lie := range map[string]struct {
		edit func(*xenabi.P2MRoot)
		says string
	}{
		"huge max_pfn":      {func(r *xenabi.P2MRoot) { r.MaxPFN = 1 << 40 }, "max_pfn 0x10000000000 is not within"},
		"no max_pfn":        {func(r *xenabi.P2MRoot) { r.MaxPFN = 0 }, "max_pfn 0x0 is not within"},
		"list of strangers": {func(r *xenabi.P2MRoot) { r.FrameListList = 0x123 }, "root of the frame list"},
		"no map at all":     {func(r *xenabi.P2MRoot) { r.FrameListList, r.CR3 = 0, 0 }, "neither a frame list nor a page table"},
		"bad page table":    {func(r *xenabi.P2MRoot) { r.FrameListList, r.VAddr = 0, 0 }, "no page table entry"},
	} {
		t.Run(name, func(t *testing.T) {
			host := fakexen.NewHost(fakexen.NewPV(guestID, 64))
			host.EditSharedInfo(guestID, lie.edit)
			r := record(t, host, nil)
			require.ErrorContains(t, r.src.Snapshot(t.Context()), lie.says)
			require.Contains(t, eventKinds(t, r.reader()), "snapshot-failed")
		})
	}
}

func TestIncrementalByHash(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, nil)
	r.snapshot()
	first := contents(host, sparse())
	require.True(t, host.GuestWrite(guestID, 17, []byte("changed")))
	require.True(t, host.GuestWrite(guestID, 0x5ff1, []byte("changed too")))
	host.Depopulate(guestID, 40)
	host.Populate(guestID, 3500)
	cond := r.snapshot()
	require.Equal(t, "hash", cond.Method)
	require.Equal(t, uint64(4), cond.Changed)
	pages := append(slices.DeleteFunc(sparse(), func(n uint64) bool { return n == 40 }), 3500)
	second := contents(host, pages)
	rd := r.reader()
	requireImage(t, rd, 1, first)
	requireImage(t, rd, 2, second)
	require.Equal(t, uint32(1), rd.Snapshots()[1].Begin.Parent)
}

// fallible is a way to the hypervisor that fails once.
type fallible struct {
	*fakexen.Host
	left int // mappings until then
}

func (f *fallible) Map(domain uint16, frames []uint64) (*hypercall.Mapping, error) {
	if f.left--; f.left == 0 {
		return nil, syscall.ENOMEM
	}
	return f.Host.Map(domain, frames)
}

// TestFailedSnapshotLeavesNothing: what one has read before it fails is not told by the
// next, which may have no such page any more.
func TestFailedSnapshotLeavesNothing(t *testing.T) {
	for left := 1; left <= 4; left++ {
		host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
		r := recordThrough(t, &fallible{host, left}, host, nil)
		require.ErrorIs(t, r.src.Snapshot(t.Context()), syscall.ENOMEM)
		gone := func(n uint64) bool { return n%100 < 3 }
		for _, n := range sparse() {
			if gone(n) {
				host.Depopulate(guestID, n)
			}
		}
		require.True(t, r.snapshot().Complete)
		pages := slices.DeleteFunc(sparse(), gone)
		want := contents(host, pages)
		requireImage(t, r.reader(), 2, want)
	}
}

func TestGuestWritesDuringTheLiveCopyAreInTheImage(t *testing.T) {
	for _, track := range []memory.Tracking{memory.TrackHash, memory.TrackLogDirty} {
		t.Run(string(track), func(t *testing.T) {
			host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
			n := uint64(0)
			host.OnMap = func(d uint16) { // writes behind and before the reader
				n++
				host.GuestWrite(d, n%3000, []byte{byte(n), byte(n >> 8), 1})
				host.GuestWrite(d, (n*977)%3000, []byte{byte(n), 2})
			}
			r := record(t, host, func(c *memory.Config) { c.Tracking = track })
			for id := uint32(1); id <= 3; id++ {
				cond := r.snapshot()
				require.True(t, cond.Paused)
				require.False(t, cond.Fuzzy)
			}
			want := contents(host, sparse())
			rd := r.reader()
			requireImage(t, rd, 3, want)
		})
	}
}

func TestLogDirtyReadsOnlyWhatChangedAndWhatBackendsMayWrite(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	host.Grant(guestID, 100)
	r := record(t, host, func(c *memory.Config) { c.Tracking, c.AuditEvery = memory.TrackLogDirty, -1 })
	r.snapshot()
	host.GuestWrite(guestID, 5, []byte("by the guest"))
	host.BackendWrite(guestID, 100, []byte("by a backend"))
	cond := r.snapshot()
	require.Equal(t, "log-dirty+grants", cond.Method)
	require.Equal(t, uint64(2), cond.Changed)
	require.Less(t, cond.Examined, uint64(10))
	require.True(t, r.pauser.tracked[guestID])
	want := contents(host, sparse())
	rd := r.reader()
	requireImage(t, rd, 2, want)
	require.False(t, host.Tracking(guestID), "log-dirty was left on")
	require.Empty(t, r.pauser.tracked)
}

func TestAuditCountsWhatTheLogMissed(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, func(c *memory.Config) { c.Tracking, c.AuditEvery = memory.TrackLogDirty, 1 })
	r.snapshot()
	host.GuestWrite(guestID, 5, []byte("seen"))
	require.Zero(t, r.snapshot().Missed)
	host.BackendWrite(guestID, 200, []byte("through a grant that was taken back meanwhile"))
	require.Equal(t, uint64(1), r.snapshot().Missed)
	want := contents(host, sparse())
	rd := r.reader()
	requireImage(t, rd, 3, want)
	require.Contains(t, eventKinds(t, rd), "tracking-missed")
}

func TestLostTrackingIsNeverNothingChanged(t *testing.T) {
	for name, lose := range map[string]func(*fakexen.Host, *bool){
		"turned off": func(h *fakexen.Host, _ *bool) { h.StealTracking(guestID) },
		"being used": func(_ *fakexen.Host, saving *bool) { *saving = true },
	} {
		t.Run(name, func(t *testing.T) {
			saving := false
			host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
			r := record(t, host, func(c *memory.Config) {
				c.Tracking, c.Savers = memory.TrackLogDirty, func() bool { return saving }
			})
			r.snapshot()
			host.GuestWrite(guestID, 9, []byte("written while tracked"))
			lose(host, &saving)
			cond := r.snapshot()
			require.Equal(t, "hash", cond.Method)
			require.Equal(t, uint64(1), cond.Changed)
			saving = false
			host.GuestWrite(guestID, 10, []byte("tracked again"))
			require.Equal(t, "log-dirty+grants", r.snapshot().Method)
			want := contents(host, sparse())
			rd := r.reader()
			requireImage(t, rd, 3, want)
			require.Contains(t, eventKinds(t, rd), "tracking-lost")
		})
	}
}

// A segment of a flight recording begins while the one before still tracks.
func TestTrackingIsTakenOver(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	before := record(t, host, func(c *memory.Config) { c.Tracking = memory.TrackLogDirty })
	before.snapshot()
	after := record(t, host, func(c *memory.Config) { c.Tracking, c.TrackWait = memory.TrackLogDirty, time.Minute })
	first := make(chan error, 1)
	go func() { first <- after.src.Snapshot(t.Context()) }()
	time.Sleep(10 * time.Millisecond)
	before.stop()
	require.NoError(t, <-first)
	host.GuestWrite(guestID, 5, []byte("tracked by the second"))
	cond := after.snapshot()
	require.Equal(t, "log-dirty+grants", cond.Method)
	require.Equal(t, uint64(1), cond.Changed)
	require.NotContains(t, eventKinds(t, after.reader()), "tracking-unavailable")
}

func TestLogDirtyFallsBackWhereXenHasNone(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewPV(guestID, 300))
	r := record(t, host, func(c *memory.Config) { c.Tracking = memory.TrackLogDirty })
	r.snapshot()
	host.GuestWrite(guestID, 9, []byte("x"))
	require.Equal(t, "hash", r.snapshot().Method)
	want := contents(host, sequence(0, 300))
	rd := r.reader()
	requireImage(t, rd, 2, want)
	require.Contains(t, eventKinds(t, rd), "tracking-unavailable")
}

// promised is a host whose guest was promised 500 frames, with pages for 50.
func promised() *fakexen.Host {
	d := fakexen.NewHVM(guestID, sequence(0, 100)...)
	d.PoDFirst, d.PoDEntries, d.PoDCache = 100, 500, 50
	return fakexen.NewHost(d)
}

func TestPopulateOnDemandIsRefusedBeforeATouch(t *testing.T) {
	host := promised()
	failed := make(chan error, 1)
	r := record(t, host, func(c *memory.Config) {
		c.Automatic, c.Retry = 1, 10*time.Millisecond
		c.Failed = func(reason error, _ time.Duration) {
			select {
			case failed <- reason:
			default:
			}
		}
	})
	var refused *memory.PoDError
	require.ErrorAs(t, <-failed, &refused)
	require.Equal(t, uint64(500), refused.Entries)
	require.ErrorContains(t, refused, "wait until its balloon driver")

	host.Balloon(guestID, 50)
	require.ErrorAs(t, r.src.Snapshot(t.Context()), &refused, "a page behind each, which the toolstack may take away")
	require.Equal(t, uint64(50), refused.Entries)
	require.NotContains(t, refused.Error(), "wait until")
	require.Zero(t, host.State(guestID).Scanned)

	host.Balloon(guestID, 0)
	require.Eventually(t, func() bool { return r.src.Stats().Snapshots == 1 }, 30*time.Second, 10*time.Millisecond)
	requireImage(t, r.reader(), r.src.Stats().LastID, contents(host, sequence(0, 100)))
}

func TestPopulateOnDemandIsReadWhenAllowed(t *testing.T) {
	host := promised()
	host.Balloon(guestID, 50)
	r := record(t, host, func(c *memory.Config) { c.AllowPoD = true })
	require.True(t, r.snapshot().Complete)
	require.False(t, host.State(guestID).Crashed)
	requireImage(t, r.reader(), r.src.Stats().LastID, contents(host, sequence(0, 150)))
}

func TestFramesThatCannotBeReadAreSaid(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sequence(0, 50)...))
	host.Break(guestID, 20)
	r := record(t, host, nil)
	require.True(t, r.snapshot().Complete)
	rd := r.reader()
	s, err := rd.Snapshot(1)
	require.NoError(t, err)
	st, err := s.ReadPage(20, make([]byte, format.PageSize))
	require.NoError(t, err)
	require.Equal(t, format.PageUnreadable, st)
}

func TestPauseThatEndsEarlyMakesTheSnapshotFuzzy(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, nil)
	r.pauser.expire = true
	cond := r.snapshot()
	require.True(t, cond.Fuzzy)
	require.False(t, cond.Paused)
	require.True(t, cond.Complete)
	require.Equal(t, int64(42), cond.Unpause, "when the guard says that the guest ran on")
	require.Contains(t, eventKinds(t, r.reader()), "pause-ended-early")
}

func TestBudgetTooSmallLeavesTheGuestRunning(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, func(c *memory.Config) { c.PauseBudget = time.Nanosecond })
	cond := r.snapshot()
	require.True(t, cond.Fuzzy)
	require.False(t, cond.Paused)
	want := contents(host, sparse())
	requireImage(t, r.reader(), 1, want) // the guest wrote nothing: the live copy is it
}

// A guest is not made to wait for a reading that the live pass says will not end in time.
func TestPauseIsNotSpentOnWhatCannotBeRead(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	slow, paused := false, 0
	host.OnMap = func(uint16) {
		if slow {
			time.Sleep(100 * time.Millisecond)
		}
		if host.State(guestID).Pauses > 0 {
			paused++
		}
	}
	r := record(t, host, func(c *memory.Config) { c.PauseBudget = 250 * time.Millisecond })
	r.snapshot()
	slow, paused = true, 0
	cond := r.snapshot() // three batches and the special pages: 300 ms or more
	require.True(t, cond.Fuzzy)
	require.Zero(t, paused, "readings of a guest that waits in vain")
	r.reader()
}

func TestGuestThatCannotBePausedIsStillCopied(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, nil)
	r.pauser.fail = syscall.EPERM
	cond := r.snapshot()
	require.True(t, cond.Fuzzy)
	require.Zero(t, cond.PauseCall)
	want := contents(host, sparse())
	rd := r.reader()
	requireImage(t, rd, 1, want)
	require.Contains(t, eventKinds(t, rd), "pause-failed")
}

func TestGuestThatDiesMidSnapshotLeavesAnIncompleteImage(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	maps := 0
	host.OnMap = func(d uint16) {
		if maps++; maps == 2 {
			host.Kill(d)
		}
	}
	x, err := hypercall.New(host, hypercall.Options{})
	require.NoError(t, err)
	clock, err := capture.NewClock()
	require.NoError(t, err)
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Start: clock.Anchor()})
	require.NoError(t, err)
	src := memory.New(memory.Config{Xen: x, Pauser: &directPauser{x: x}, Clock: clock, Domain: guestID, Automatic: 1})
	require.NoError(t, src.Attach(t.Context(), w))
	require.Error(t, src.Run(t.Context()))
	require.NoError(t, w.Seal())
	rd, err := format.Open(bytes.NewReader(tape.Bytes()), int64(tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	require.False(t, rd.Snapshots()[0].End.Complete)
}

func TestBackendsAreWaitedFor(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sequence(0, 10)...))
	busy := &backend{left: 5}
	r := record(t, host, func(c *memory.Config) {
		c.Backends, c.QuietWait = func() []memory.Backend { return []memory.Backend{busy} }, time.Minute
	})
	cond := r.snapshot()
	require.True(t, cond.Quiesced)
	require.NotZero(t, cond.Quiet)
	busy.left = 1 << 30
	r.stop()
	r2 := record(t, host, func(c *memory.Config) {
		c.Backends, c.QuietWait = func() []memory.Backend { return []memory.Backend{busy} }, 30*time.Millisecond
	})
	cond = r2.snapshot()
	require.False(t, cond.Quiesced)
	require.NotZero(t, cond.InFlight)
	r2.stop()
}

type backend struct{ left uint32 }

func (b *backend) InFlight() uint32 {
	if b.left > 0 {
		b.left--
	}
	return b.left
}

// Shared info and the grant table of a PVH guest are pages of Xen's own, which the type
// of a frame does not tell from none, and which the dirty log leaves out.
func TestPagesThatXenSharesWithTheGuest(t *testing.T) {
	for _, track := range []memory.Tracking{memory.TrackHash, memory.TrackLogDirty} {
		t.Run(string(track), func(t *testing.T) {
			guest := fakexen.NewHVM(guestID, 0, 1, 2, 16, 500, 700)
			guest.Shared = []uint64{16, 500}
			host := fakexen.NewHost(guest)
			r := record(t, host, func(c *memory.Config) { c.Tracking = track })
			require.Equal(t, uint64(6), r.snapshot().Changed)
			host.BackendWrite(guestID, 16, []byte("the time of day"))
			require.Equal(t, uint64(1), r.snapshot().Changed)
			rd := r.reader()
			want := map[uint64][]byte{}
			for _, n := range []uint64{0, 1, 2, 16, 500, 700} {
				want[n] = host.Page(guestID, n)
			}
			requireImage(t, rd, 2, want)
		})
	}
}

// What a description lacks is said, and what there is of it is on the tape.
func TestDescriptionThatIsNotWhole(t *testing.T) {
	r := record(t, fakexen.NewHost(fakexen.NewHVM(guestID, 0, 1, 2)), func(c *memory.Config) {
		c.Describe = func(context.Context) ([]memory.Blob, error) {
			return []memory.Blob{{Name: "xenstore", Data: []byte("half")}}, errors.New("xenstored went away")
		}
	})
	require.True(t, r.snapshot().Complete)
	rd := r.reader()
	require.Contains(t, eventKinds(t, rd), "snapshot-part-missing")
	s, err := rd.Snapshot(1)
	require.NoError(t, err)
	require.Contains(t, s.Attachments(), "xenstore")
}

func TestSnapshotOfARecordingThatEnded(t *testing.T) {
	s := memory.New(memory.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	require.EqualError(t, s.Snapshot(t.Context()), "the recording of memory has ended")
}
