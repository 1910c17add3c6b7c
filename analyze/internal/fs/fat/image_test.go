package fat

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestImages reads everything on images that mtools copied a tree with the
// awkward cases to; the manifests are of that tree.
func TestImages(t *testing.T) {
	for _, name := range []string{"tree-fat12", "tree-fat16", "tree-fat32"} {
		t.Run(name, func(t *testing.T) {
			fstest.CheckImage(t, Open, testdata, name, copied)
		})
	}
}
