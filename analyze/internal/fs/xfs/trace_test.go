package xfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// normal forgets what xfs shows otherwise than stat(2) does: nothing but the
// size of device nodes' numbers, which only 18 bits of minor number fit in.
func normal(e *fstest.Entry) {
	if e.Device != nil && e.Device[1] >= 1<<18 {
		e.Device = nil
	}
}

func openFile(t *testing.T, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	return f, st.Size()
}

func overlay(t *testing.T, path string) *fs.Overlay {
	f, n := openFile(t, path)
	return fs.NewOverlay(uint64(n), fstest.Image{R: f, Size: n}, nil)
}

func manifest(t *testing.T, path string) []fstest.Entry {
	f, _ := openFile(t, path)
	m, err := fstest.ReadManifest(f)
	require.NoError(t, err)
	require.NotEmpty(t, m)
	return m
}

// dataDir is the folder of large recordings; the small trace in testdata covers
// the same ground on every run.
func dataDir(t *testing.T) string {
	t.Helper()
	d := os.Getenv("XENTAPE_DATA")
	if d == "" {
		t.Skip("XENTAPE_DATA is not set: unpack the project's data/disk/*.tar.zst and set it to the folder above disk/")
	}
	return d
}

// TestAttackTrace follows an intruder's session: at every mark the tree kept
// from deltas alone is the one the kernel showed, and a fresh crawl agrees.
func TestAttackTrace(t *testing.T) {
	dir := filepath.Join(dataDir(t), "disk", "xfs-attack", "xfs-attack")
	playTrace(t, filepath.Join(dir, "base.img"), filepath.Join(dir, "log"), filepath.Join(dir, "man"))
}

func playTrace(t *testing.T, base, log, man string) {
	r, err := fstest.Start(Open, overlay(t, base))
	require.NoError(t, err)
	f, _ := openFile(t, log)
	tr, err := fstest.NewTrace(f)
	require.NoError(t, err)
	marks := 0
	err = r.Play(tr, func(name string) error {
		if !strings.HasPrefix(name, "cp") {
			return nil
		}
		marks++
		got, err := r.Model.Tree(r.FS, r.FS.Info().Root)
		if err != nil {
			return err
		}
		d := fstest.Diff(manifest(t, filepath.Join(man, name+".jsonl")), got, normal)
		require.Empty(t, head(d), "%s: %d differences", name, len(d))
		fresh, err := r.Fresh()
		require.Empty(t, fresh, name)
		return err
	})
	require.NoError(t, err)
	require.Empty(t, r.Model.Faults)
	require.Empty(t, r.Model.Problems)
	require.NotZero(t, marks)
	t.Logf("%d marks, %d writes, %d transactions", marks, r.Writes, len(r.Model.Txs))
}

func head(s []string) []string { return s[:min(len(s), 8)] }
