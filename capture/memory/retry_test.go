package memory_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/capture/memory"
)

// A PV guest that boots has not told yet where its memory is.
func TestSnapshotOfABootingGuestIsTriedAgain(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewPV(guestID, 16))
	var told xenabi.P2MRoot
	host.EditSharedInfo(guestID, func(r *xenabi.P2MRoot) { told, *r = *r, xenabi.P2MRoot{} })
	r := record(t, host, func(c *memory.Config) { c.Automatic, c.Retry = 1, time.Millisecond })
	require.Eventually(t, func() bool { return r.src.Stats().Failed >= 2 }, 20*time.Second, time.Millisecond)
	host.EditSharedInfo(guestID, func(r *xenabi.P2MRoot) { *r = told })
	require.Eventually(t, func() bool { return r.src.Stats().Snapshots == 1 }, 20*time.Second, time.Millisecond)
	failed := r.src.Stats().Failed
	time.Sleep(20 * time.Millisecond)
	require.Equal(t, failed, r.src.Stats().Failed)
	rd := r.reader()
	require.Len(t, slices.DeleteFunc(eventKinds(t, rd), func(k string) bool { return k != "snapshot-failed" }), int(failed))
}
