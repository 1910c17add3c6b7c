package files

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
	"github.com/xentape/xentape/format"
)

// TestFATEventsHaveACause: what is not of names, against the calls a guest made on vfat
// and exfat. Their creation times are finer than their modification times, so that
// every file seems to have been modified before it was made.
func TestFATEventsHaveACause(t *testing.T) {
	for _, name := range []string{"kernel-fat12", "kernel-fat16", "kernel-fat32", "kernel-exfat"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, fstest.Unpack(t, os.DirFS("../internal/fs/fat/testdata"), name+".tar.zst")))
			a, log := openTrace(t, dir, Options{})
			eachEntry(t, log, func(r format.Record) { require.NoError(t, a.Feed(r)) })
			require.NoError(t, a.Finish())
			calls, others := follow(allOps(t, dir)), 0
			for _, e := range a.Events() {
				if e.Op == OpWrite || e.Op == OpTruncate || e.Op == OpUtime || e.Op == OpChmod {
					others++
					b, _ := json.Marshal(e)
					require.True(t, calls.explain(&e), "%s", b)
				}
			}
			require.Greater(t, others, 50)
		})
	}
}
