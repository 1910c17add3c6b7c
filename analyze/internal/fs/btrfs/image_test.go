package btrfs

import (
	"testing"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestImages reads everything on images of a tree with the awkward cases, one
// for each set of mkfs and mount options that changes the layout. The manifests
// are the kernel's view.
func TestImages(t *testing.T) {
	for _, name := range []string{"default", "zstd-xxhash", "lzo-sha256-single", "zlib-blake2-4knode", "mixed-nodatacow"} {
		t.Run(name, func(t *testing.T) {
			fstest.CheckImage(t, Open, testdata, name, normal)
		})
	}
}
