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

// recordSize is that of the file records of the volume.
const recordSize = 1024

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
	a, log := openTrace(t, dir, Options{})
	seq, rivals, kept, marks := uint64(0), 0, 0, 0
	check := func() {
		a.State()
		require.Empty(t, a.SelfCheck(), "after %d pieces", seq)
		v := a.volumes[0]
		rivals += len(v.names.rivals)
		kept += len(v.fs.(fs.Keeper).Kept())
	}
	eachEntry(t, log, func(r format.Record) {
		switch r := r.(type) {
		case *format.DiskRequest:
			for at := uint64(0); at < r.Length; at += recordSize {
				piece := *r
				seq++
				piece.Seq, piece.ID, piece.Offset, piece.Length = seq, seq, r.Offset+at, min(recordSize, r.Length-at)
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
	require.NotZero(t, rivals, "names of two files")
	require.NotZero(t, kept, "names of a file that could not be read")
	require.Empty(t, a.volumes[0].names.rivals)
	require.Empty(t, a.volumes[0].fs.(fs.Keeper).Kept())
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
