package btrfs

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestMutants: no damage to an image or to the writes makes the reader panic or
// run without end.
func TestMutants(t *testing.T) {
	r := small(t)
	disk := r.Base.Clone()
	fstest.Apply(t, disk, r.Log) // so that there is something to damage
	fstest.CheckMutants(t, Open, disk, disk.NonZero(1<<20), 100)
	fstest.CheckTraceMutants(t, Open, r, 20)
}

// TestHoles: with parts of the base never captured, what is shown is still true.
func TestHoles(t *testing.T) {
	base := fstest.LoadImage(t, openFile(t, "testdata/zstd-xxhash.img.zst"))
	want := fstest.Manifest(t, openFile(t, "testdata/zstd-xxhash.man.zst"))
	for _, stride := range []int64{2, 5, 17} {
		fstest.CheckHoles(t, Open, base, want, stride, normal)
	}
}
