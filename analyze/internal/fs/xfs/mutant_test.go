package xfs

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
	base := fstest.LoadImage(t, testdata, "v5-default")
	want := fstest.LoadManifest(t, testdata, "v5-default")
	for _, stride := range []int64{2, 5, 17} {
		fstest.CheckHoles(t, Open, base, want, stride, normal)
	}
}
