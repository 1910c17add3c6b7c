package files

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
	"github.com/xentape/xentape/format"
)

// asRecord is a step of a trace as it stands on a tape; nil for nothing.
func asRecord(s fstest.Step) format.Record {
	w := s.Write
	at := format.Stamp{Seq: w.Seq, Time: w.Time}
	switch {
	case s.Mark != "":
		return &format.Mark{Stamp: at, Text: s.Mark}
	case w.Len == 0:
		return &format.DiskRequest{Stamp: at, Op: format.DiskFlush, Flags: format.DiskApplied}
	case w.Op == fs.OpDiscard:
		return &format.DiskRequest{Stamp: at, Op: format.DiskDiscard, Flags: format.DiskApplied, Offset: w.Off, Length: w.Len}
	}
	r := &format.DiskRequest{Stamp: at, Op: format.DiskWrite, Flags: format.DiskApplied, Offset: w.Off, Length: w.Len, Data: w.Data}
	if s.Flush {
		r.Flags |= format.DiskPreflush
	}
	return r
}

// TestOtherFilesystems sends a small recording of each filesystem but ext4
// through the engine: paths at every mark are the driver's, renames are told as
// such, and a second reading agrees with what was followed.
func TestOtherFilesystems(t *testing.T) {
	for _, c := range []struct{ kind, base string }{
		{"xfs", "xfs/testdata/small"}, {"btrfs", "btrfs/testdata/small"}, {"ntfs", "ntfs/testdata/small"},
		{"vfat", "fat/testdata/fat12"}, {"vfat", "fat/testdata/fat16"}, {"vfat", "fat/testdata/fat32"}, {"exfat", "fat/testdata/exfat"},
	} {
		t.Run(c.base, func(t *testing.T) {
			rec := fstest.LoadRecording(t, os.DirFS("../internal/fs"), c.base)
			a, err := New(uint64(rec.Base.Bytes), fstest.Image{R: rec.Base, Size: rec.Base.Bytes}, Options{Disk: "xvda", Hash: true})
			require.NoError(t, err)
			tr, err := fstest.NewTrace(bytes.NewReader(rec.Log))
			require.NoError(t, err)
			for {
				s, err := tr.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				require.NoError(t, a.Feed(asRecord(s)))
				if want, ok := rec.Marks[s.Mark]; ok {
					checkPaths(t, a, want)
				}
			}
			require.NoError(t, a.Finish())
			require.Empty(t, a.SelfCheck())
			require.Empty(t, a.Problems())
			kind, _, _, err := a.State().Describe("")
			require.NoError(t, err)
			require.Equal(t, c.kind, kind)
			events := a.Events()
			checkRenames(t, events)
			checkWrites(t, events)
		})
	}
}

func checkPaths(t *testing.T, a *Analyzer, want []fstest.Entry) {
	t.Helper()
	var paths, got []string
	for _, e := range want {
		paths = append(paths, e.Path)
	}
	require.NoError(t, a.State().Walk("", func(f File) error {
		got = append(got, f.Path)
		return nil
	}))
	if len(got) < len(paths) && len(got) > 0 && got[0] != "/" {
		got = append([]string{"/"}, got...)
	}
	require.ElementsMatch(t, paths, got)
}

// checkWrites: what was written lies within the file, and how noisy it is is told, of
// file systems that write whole blocks too.
func checkWrites(t *testing.T, events []Event) {
	t.Helper()
	told := 0
	for _, e := range events {
		if e.Op != OpWrite || len(e.Ranges) == 0 {
			continue
		}
		last := e.Ranges[len(e.Ranges)-1]
		require.LessOrEqual(t, last.Off+last.Len, *e.Size, "%+v", e)
		if e.SHA256New != "" {
			require.NotNil(t, e.EntropyNew, "%+v", e)
			told++
		}
	}
	require.NotZero(t, told)
}

// checkRenames: what the workloads renamed they named so, and nothing else.
func checkRenames(t *testing.T, events []Event) {
	t.Helper()
	renamed := 0
	for _, e := range events {
		last := e.Path[strings.LastIndex(e.Path, "/")+1:]
		if e.Op != OpRename {
			continue
		}
		require.True(t, strings.HasPrefix(last, "ren") || strings.HasPrefix(last, "moved dir"), "%s from %s", e.Path, e.OldPath)
		require.NotEmpty(t, e.OldPath)
		renamed++
	}
	require.Greater(t, renamed, 2)
}
