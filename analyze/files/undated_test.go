package files

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestContentBeforeItsInode: XFS writes a file's last block before its log says that
// the file is longer. Each append is one write, dated by the inode that follows; of
// what was overwritten three times before that, each version is told.
func TestContentBeforeItsInode(t *testing.T) {
	dir := unpack(t, "appends")
	a, events := replayAppends(t, dir)
	require.Empty(t, a.Problems())
	left := slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.Op == OpDelete }) // of what was unlinked
	for _, o := range readOps(t, dir) {
		op := map[string]Op{"append": OpWrite, "pwrite": OpWrite, "utime": OpUtime, "unlink": OpUnlink}[o.Op]
		k := slices.IndexFunc(left, func(e Event) bool { return e.Op == op && e.Path == "/"+o.Path })
		require.GreaterOrEqual(t, k, 0, "%+v", o)
		e := left[k]
		require.LessOrEqual(t, int64(e.TimeLower), o.T1, "%+v", o)
		require.GreaterOrEqual(t, int64(e.TimeUpper), o.T0, "%+v", o)
		if o.Op == "append" {
			require.NotNil(t, e.SizeOld)
			require.Greater(t, *e.Size, *e.SizeOld)
			require.Equal(t, BasisModify, e.TimeBasis)
		}
		if op == OpWrite {
			require.NotEqual(t, e.SHA256Old, e.SHA256New)
			require.NotEmpty(t, e.SHA256Old)
		}
		left = slices.Delete(left, k, k+1)
	}
	require.Empty(t, left)
}

func replayAppends(t *testing.T, dir string) (*Analyzer, []Event) {
	a, _ := openTrace(t, dir, Options{Hash: true})
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	eachEntry(t, bytes.NewReader(log), func(r format.Record) { require.NoError(t, a.Feed(r)) })
	require.NoError(t, a.Finish())
	return a, a.Events()
}

// TestContentThatIsNeverDated: where the tape ends before the log says so, a write is
// told between what was known of the file before and the write itself.
func TestContentThatIsNeverDated(t *testing.T) {
	dir := unpack(t, "appends")
	a, log := openTrace(t, dir, Options{Hash: true})
	var events []Event
	eachEntry(t, log, func(r format.Record) {
		if w, ok := r.(*format.DiskRequest); ok && w.Seq > 36 {
			return // the second of three writes to the same bytes
		}
		require.NoError(t, a.Feed(r))
		events = append(events, a.Events()...)
	})
	require.NotContains(t, versionsOf(events, "/log/utmp"), "ea2e17")
	require.NoError(t, a.Finish())
	events = append(events, a.Events()...)
	require.Equal(t, []string{"2049fa", "ea2e17"}, versionsOf(events, "/log/utmp"))
	last := events[len(events)-1]
	require.Equal(t, BasisWrite, last.TimeBasis)
	require.Less(t, last.TimeLower, last.TimeUpper)
}

func versionsOf(events []Event, path string) (out []string) {
	for _, e := range events {
		if e.Op == OpWrite && e.Path == path {
			out = append(out, e.SHA256New[:6])
		}
	}
	return out
}
