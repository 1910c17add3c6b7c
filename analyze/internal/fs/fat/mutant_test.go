package fat

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestMutants: no damage to an image or to the writes makes the reader panic or
// run without end.
func TestMutants(t *testing.T) {
	for _, name := range []string{"fat12", "fat16", "fat32", "exfat"} {
		t.Run(name, func(t *testing.T) { recording(t, name).CheckMutants(t, Open) })
	}
}

// TestHoles: with parts of the base never captured, what is shown is still true.
func TestHoles(t *testing.T) {
	base := fstest.LoadImage(t, testdata, "tree-fat32")
	want := fstest.LoadManifest(t, testdata, "tree-fat32")
	for _, stride := range []int64{2, 5, 17} {
		fstest.CheckHoles(t, Open, base, want, stride, copied)
	}
}
