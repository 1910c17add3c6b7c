package files

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
	"github.com/xentape/xentape/format"
)

// inPieces feeds a trace cut into pieces of so many bytes, those of a write in the order of
// its bytes, and compares what was followed with a fresh crawl after each, and the tree at
// each mark.
func inPieces(t *testing.T, dir string, size uint64, after func(v *volumeState)) {
	a, log := openTrace(t, dir, Options{})
	seq, marks := uint64(0), 0
	check := func() {
		a.State()
		require.Empty(t, a.SelfCheck(), "after %d pieces", seq)
		after(a.volumes[0])
	}
	eachEntry(t, log, func(r format.Record) {
		switch r := r.(type) {
		case *format.DiskRequest:
			for at := uint64(0); at < r.Length; at += size {
				piece := *r
				seq++
				piece.Seq, piece.ID, piece.Offset, piece.Length = seq, seq, r.Offset+at, min(size, r.Length-at)
				if r.Op == format.DiskWrite {
					piece.Data = r.Data[at:][:piece.Length]
				}
				require.NoError(t, a.Feed(&piece))
				check()
			}
		case *format.Mark:
			r.Seq = seq
			require.NoError(t, a.Feed(r))
			if strings.HasPrefix(r.Text, "cp") {
				marks++
				want, _ := truth(t, dir, r.Text, a.State())
				require.Empty(t, compare(t, a.State(), want), r.Text)
				check()
			}
		default:
			require.NoError(t, a.Feed(r))
		}
	})
	require.Equal(t, 9, marks)
}

// TestHalfReplaced: after every file record that is written, a fresh crawl finds what was
// followed: while two records have one name, and while the list of a file's records is
// older or newer than they are.
func TestHalfReplaced(t *testing.T) {
	dir := unpack(t, "replaced-ntfs")
	image := fstest.LoadImage(t, os.DirFS("../internal/fs/ntfs/testdata"), "small.base")
	base, err := os.Create(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	_, err = io.Copy(base, io.NewSectionReader(image, 0, image.Bytes))
	require.NoError(t, err)
	require.NoError(t, base.Close())
	rivals, kept, left := 0, 0, 0
	inPieces(t, dir, 1024, func(v *volumeState) {
		k := len(v.fs.(fs.Keeper).Kept())
		rivals, kept, left = rivals+len(v.names.rivals), kept+k, len(v.names.rivals)+k
	})
	require.NotZero(t, rivals, "names of two files")
	require.NotZero(t, kept, "names of a file that could not be read")
	require.Zero(t, left)
}

// TestDirectoryGoesOn does the same sector by sector on exFAT, where a directory may go on
// in a cluster that was written before its entry says so.
func TestDirectoryGoesOn(t *testing.T) {
	inPieces(t, unpack(t, "replaced-exfat"), 512, func(*volumeState) {})
}

// TestRenamedWithinASecond: exfat-fuse dates what it makes to the second. A file that is
// renamed in the second it was made in is known by its first cluster, which still holds
// what it held, though the file has grown meanwhile.
func TestRenamedWithinASecond(t *testing.T) {
	dir := unpack(t, "replaced-exfat")
	_, events := replayTrace(t, dir, Options{})
	got := map[string]string{}
	for _, e := range events {
		if e.Op == OpRename {
			got[e.OldPath] = e.Path
		}
	}
	want := map[string]string{}
	for _, o := range readOps(t, dir) {
		if o.Op == "rename" {
			want["/"+o.Src] = "/" + o.Dst
		}
	}
	require.Equal(t, want, got)
	recallAndPrecision(t, dir)
}
