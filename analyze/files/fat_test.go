package files

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestFATRecallAndPrecision: against the calls a guest made on vfat and exfat. Their
// creation times are finer than their modification times, so that every file seems to
// have been modified before it was made; a file has no number, so that one that was
// renamed is known by its time of creation and first cluster, though another may have
// taken the place of its entry.
func TestFATRecallAndPrecision(t *testing.T) {
	for _, name := range []string{"kernel-fat12", "kernel-fat16", "kernel-fat32", "kernel-exfat"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, fstest.Unpack(t, os.DirFS("../internal/fs/fat/testdata"), name+".tar.zst")))
			recallAndPrecision(t, dir)
		})
	}
}
