package xfs

import (
	"os"
	"testing"

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

// TestAttackTrace does the same for an intruder's session of xfs.
func TestAttackTrace(t *testing.T) {
	fstest.CheckFolder(t, Open, os.DirFS(need.Recording(t, "disk", "xfs-attack", "xfs-attack")), normal)
}
