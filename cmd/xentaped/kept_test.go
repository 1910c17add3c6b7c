package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeptIsWhatTheFileSystemGave(t *testing.T) {
	dir := t.TempDir()
	k, err := keptBelow(filepath.Join(dir, "none"))
	require.NoError(t, err)
	require.Zero(t, k)

	write := func(n int, elem ...string) string {
		path := filepath.Join(append([]string{dir}, elem...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, make([]byte, n), 0o600))
		return path
	}
	both := write(8192, "2.xtape")
	write(4096, "3.xtape")
	write(16384, "pinned", "1.xtape")
	write(4096, "base", "xvda.after-1.img")
	require.NoError(t, os.Link(both, filepath.Join(dir, "pinned", "2.xtape")))
	require.NoError(t, os.Truncate(write(4096, "pinned", "xvda.after-0.img"), 1<<30), "the rest is a hole")
	k, err = keptBelow(dir)
	require.NoError(t, err)
	require.Equal(t, kept{Ring: room{2, 12288}, Pinned: room{2, 20480}, Images: room{1, 4096}}, k)
}
