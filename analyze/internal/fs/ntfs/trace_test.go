package ntfs

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
	"github.com/xentape/xentape/corpus/need"
)

// normal: ntfs-3g's owner and mode are its defaults, as ours. The size of a
// directory it shows as it last cached it, which is not what the disk says.
func normal(e *fstest.Entry) {
	if e.Type == "d" {
		e.Size = 0
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

// TestAttackTrace does the same for an intruder's session of ntfs.
func TestAttackTrace(t *testing.T) {
	fstest.CheckFolder(t, Open, os.DirFS(need.Recording(t, "disk", "ntfs-attack", "ntfs-attack")), normal)
}

// TestFragmentedMFT does the same for a volume of small clusters that was full of files of
// a few clusters, every other one of which made place for the MFT: its runs fill more
// records than one, and the list of those is outside.
func TestFragmentedMFT(t *testing.T) {
	run := fstest.CheckFolder(t, Open, fstest.Unpack(t, testdata, "mft.tar.zst"), normal)
	f, err := run.FS.(*ntfs).vol.file(0)
	require.NoError(t, err)
	require.NotEmpty(t, f.apart, "an attribute list that is not resident")
	require.Greater(t, len(f.stream("").runs), 200)
}
