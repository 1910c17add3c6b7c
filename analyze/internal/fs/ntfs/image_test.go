package ntfs

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// TestImage reads everything on an image of a tree with the awkward cases,
// compressed files and a file whose runs fill several records among them. The
// manifest is what ntfs-3g showed; streams are not in it.
func TestImage(t *testing.T) {
	fstest.CheckImage(t, Open, testdata, "tree", shown)
}

// shown leaves out streams.
func shown(e *fstest.Entry) {
	normal(e)
	if strings.Contains(e.Path, ":") {
		e.Path = ""
	}
}

// TestStreams reads the alternate data streams of a file, small and large.
func TestStreams(t *testing.T) {
	s := fstest.LoadImage(t, testdata, "tree")
	got, _, err := fstest.Read(Open, s.Overlay())
	require.NoError(t, err)
	sizes := map[string]uint64{}
	for _, e := range got {
		if strings.HasPrefix(e.Path, "/dir/withstream") {
			sizes[e.Path] = e.Size
		}
	}
	require.Equal(t, map[string]uint64{"/dir/withstream": 4, "/dir/withstream:extra": 21, "/dir/withstream:large": 23000}, sizes)
}
