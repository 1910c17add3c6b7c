package btrfs

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

// normal: btrfs shows everything as stat(2) does. Left out is what Linux makes up
// for the name of a subvolume in a snapshot, where it leads nowhere: an empty
// directory with inode number 2 (BTRFS_EMPTY_SUBVOL_DIR_OBJECTID).
func normal(e *fstest.Entry) {
	if e.Ino == 2 {
		e.Path = ""
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

// TestAttackTrace does the same for an intruder's session of btrfs.
func TestAttackTrace(t *testing.T) {
	playDir(t, need.Recording(t, "disk", "btrfs-attack", "btrfs-attack"))
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
