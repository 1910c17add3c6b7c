package xfs

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestImages reads everything on images of a tree with the awkward cases, one
// for each set of mkfs and mount options that changes the layout. The manifests
// are the kernel's view.
func TestImages(t *testing.T) {
	for _, name := range []string{"v5-default", "v5-1k-dir8k", "v5-nrext64-rmap", "v5-nobigtime-1kinode"} {
		t.Run(name, func(t *testing.T) {
			fstest.CheckImage(t, Open, testdata, name, normal)
		})
	}
}

// TestVersion4 reads an image of the old format, which mkfs filled from a
// prototype file: the kernel here no longer mounts it. The manifest is the
// prototype, which says nothing of times and sizes of directories.
func TestVersion4(t *testing.T) {
	fstest.CheckImage(t, Open, testdata, "v4-proto", func(e *fstest.Entry) {
		e.Ino, e.MTime, e.CTime, e.Links = 0, 0, 0, 0
		if e.Type == "d" {
			e.Size = 0
		}
	})
}
