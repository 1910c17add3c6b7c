package memory_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/memory"
)

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
