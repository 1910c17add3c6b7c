package memory_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/memory"
)

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
