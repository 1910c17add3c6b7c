package btrfs

import (
	"os"
	"testing"

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

var testdata = os.DirFS("testdata")

// small is a recording of a few hundred operations of every kind, made by the
// kernel on a loop device: see testdata/README.
func small(t testing.TB) fstest.Recording {
	return fstest.LoadRecording(t, testdata, "small")
}

// TestSmallTrace: at every mark the tree kept from deltas alone is the one the
// kernel showed, and a fresh crawl finds the same.
func TestSmallTrace(t *testing.T) {
	small(t).Check(t, Open, normal)
}

// TestAttackTrace does the same for an intruder's session of btrfs.
func TestAttackTrace(t *testing.T) {
	fstest.CheckFolder(t, Open, os.DirFS(need.Recording(t, "disk", "btrfs-attack", "btrfs-attack")), normal)
}
