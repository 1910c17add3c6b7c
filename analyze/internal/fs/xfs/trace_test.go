package xfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
	"github.com/xentape/xentape/corpus/need"
)

// normal forgets what xfs shows otherwise than stat(2) does: nothing but the
// size of device nodes' numbers, which only 18 bits of minor number fit in.
func normal(e *fstest.Entry) {
	if e.Device != nil && e.Device[1] >= 1<<18 {
		e.Device = nil
	}
}

func openFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// small is a recording of a few hundred operations of every kind, made by the
// kernel on a loop device: see testdata/README.
func small(t testing.TB) fstest.Recording {
	return fstest.LoadRecording(t, openFile(t, "testdata/small.base.img.zst"), openFile(t, "testdata/small.log.zst"), openFile(t, "testdata/small.man.zst"))
}

// TestSmallTrace: at every mark the tree kept from deltas alone is the one the
// kernel showed, and a fresh crawl finds the same.
func TestSmallTrace(t *testing.T) {
	r := small(t)
	fstest.CheckTrace(t, Open, r.Overlay(), bytes.NewReader(r.Log), func(m string) []fstest.Entry { return r.Marks[m] }, normal)
}

// TestAttackTrace does the same for an intruder's session of xfs.
func TestAttackTrace(t *testing.T) {
	playDir(t, need.Recording(t, "disk", "xfs-attack", "xfs-attack"))
}

// playDir plays a recording kept as files.
func playDir(t *testing.T, dir string) {
	f := openFile(t, filepath.Join(dir, "base.img"))
	st, err := f.Stat()
	require.NoError(t, err)
	dev := fs.NewOverlay(uint64(st.Size()), fstest.Image{R: f, Size: st.Size()}, nil)
	fstest.CheckTrace(t, Open, dev, openFile(t, filepath.Join(dir, "log")), func(mark string) []fstest.Entry {
		m, err := fstest.ReadManifest(openFile(t, filepath.Join(dir, "man", mark+".jsonl")))
		require.NoError(t, err)
		require.NotEmpty(t, m)
		return m
	}, normal)
}
