package btrfs

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestMutants: no damage to an image or to the writes makes the reader panic or
// run without end.
func TestMutants(t *testing.T) {
	small(t).CheckMutants(t, Open)
}

// TestHoles: with parts of the base never captured, what is shown is still true.
func TestHoles(t *testing.T) {
	base := fstest.LoadImage(t, testdata, "zstd-xxhash")
	want := fstest.LoadManifest(t, testdata, "zstd-xxhash")
	for _, stride := range []int64{2, 5, 17} {
		fstest.CheckHoles(t, Open, base, want, stride, normal)
	}
}
