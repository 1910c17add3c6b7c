package fat

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

func openFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// copied leaves of an entry what copying a file onto FAT keeps: its name, size,
// content and, for files, the second it was changed.
func copied(e *fstest.Entry) {
	x := fstest.Entry{Path: e.Path, Type: e.Type, SHA256: e.SHA256}
	if e.Type == "f" {
		x.Size, x.MTime = e.Size, e.MTime
	}
	*e = x
}

func recording(t testing.TB, name string) fstest.Recording {
	return fstest.LoadRecording(t, openFile(t, "testdata/"+name+".base.img.zst"), openFile(t, "testdata/"+name+".log.zst"), openFile(t, "testdata/"+name+".man.zst"))
}

// shown leaves of an entry what exFAT keeps; owner and mode are the driver's.
func shown(e *fstest.Entry) {
	x := fstest.Entry{Path: e.Path, Type: e.Type, SHA256: e.SHA256}
	if e.Path != "/" {
		x.Size, x.MTime = e.Size, e.MTime
	}
	*e = x
}

// TestExFATTrace: at every mark the tree kept from deltas alone is the one the
// driver showed, and a fresh crawl finds the same.
func TestExFATTrace(t *testing.T) {
	r := recording(t, "exfat")
	fstest.CheckTrace(t, Open, r.Overlay(), bytes.NewReader(r.Log), func(m string) []fstest.Entry { return r.Marks[m] }, shown)
}

// TestFATTrace does the same for the three widths of table, written by mtools.
func TestFATTrace(t *testing.T) {
	for _, name := range []string{"fat12", "fat16", "fat32"} {
		t.Run(name, func(t *testing.T) {
			r := recording(t, name)
			run := fstest.CheckTrace(t, Open, r.Overlay(), bytes.NewReader(r.Log), func(m string) []fstest.Entry { return r.Marks[m] }, copied)
			moved := 0
			for _, tx := range run.Model.Txs {
				for _, c := range tx.Inodes {
					if c.Was != (fs.ID{}) {
						require.Equal(t, c.Old.Size, c.New.Size)
						moved++
					}
				}
			}
			require.NotZero(t, moved, "renames are recognised")
		})
	}
}
