package fat

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

var testdata = os.DirFS("testdata")

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
	return fstest.LoadRecording(t, testdata, name)
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
	recording(t, "exfat").Check(t, Open, shown)
}

// TestFATTrace does the same for the three widths of table, written by mtools.
func TestFATTrace(t *testing.T) {
	for _, name := range []string{"fat12", "fat16", "fat32"} {
		t.Run(name, func(t *testing.T) {
			run := recording(t, name).Check(t, Open, copied)
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

// TestKernelTrace: the same for what Linux's own vfat and exfat drivers wrote.
func TestKernelTrace(t *testing.T) {
	for _, name := range []string{"kernel-fat12", "kernel-fat16", "kernel-fat32", "kernel-exfat"} {
		t.Run(name, func(t *testing.T) {
			fstest.CheckFolder(t, Open, fstest.Unpack(t, testdata, name+".tar.zst"), shown)
		})
	}
}
