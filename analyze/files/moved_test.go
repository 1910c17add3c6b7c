package files

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestContentMovedByTheFilesystem: a balance puts every block of a btrfs elsewhere, a
// defragmentation writes files anew, compressed. No program wrote them. One that is
// written over with what it holds was written.
func TestContentMovedByTheFilesystem(t *testing.T) {
	dir := unpack(t, "moved")
	for _, hash := range []bool{false, true} {
		a, log := openTrace(t, dir, Options{Hash: hash})
		var events []Event
		eachEntry(t, log, func(r format.Record) {
			require.NoError(t, a.Feed(r))
			events = append(events, a.Events()...)
		})
		require.NoError(t, a.Finish())
		events = append(events, a.Events()...)
		events = slices.DeleteFunc(events, func(e Event) bool { return e.Op != OpWrite })
		calls := readOps(t, dir)
		require.Len(t, events, len(calls))
		for i, e := range events {
			require.Equal(t, "/"+calls[i].Path, e.Path)
			require.LessOrEqual(t, int64(e.TimeLower), calls[i].T1)
			require.GreaterOrEqual(t, int64(e.TimeUpper), calls[i].T0)
		}
	}
}
