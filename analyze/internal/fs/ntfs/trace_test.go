package ntfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
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

// TestWriteByWrite tells what each write alone shows, the writes before a mark in reverse
// order, so that a directory comes after what is in it, and a list of records after those:
// the tree kept from deltas is the one that a fresh crawl finds.
func TestWriteByWrite(t *testing.T) {
	rec := small(t)
	r, err := fstest.Start(Open, rec.Base.Overlay())
	require.NoError(t, err)
	tr, err := fstest.NewTrace(bytes.NewReader(rec.Log))
	require.NoError(t, err)
	var writes []fstest.Step
	for {
		s, err := tr.Next()
		if err == nil && s.Mark == "" {
			writes = append(writes, s)
			continue
		}
		for _, w := range slices.Backward(writes) {
			w.Flush = true
			require.NoError(t, r.Step(w))
			fresh, err := r.Fresh()
			require.NoError(t, err)
			require.Empty(t, fresh, "write %d", w.Write.Seq)
		}
		if writes = nil; errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	require.Empty(t, r.Model.Faults)
}
