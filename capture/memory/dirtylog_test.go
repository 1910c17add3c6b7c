package memory_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/memory"
)

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
