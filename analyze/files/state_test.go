package files

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestStateWithoutAJournal: without a journal the guest's tree is the disk's, at any
// moment, in the middle of an operation too: names never outlive their inodes.
func TestStateWithoutAJournal(t *testing.T) {
	dir := unpack(t, "nojournal")
	a, log := openTrace(t, dir, Options{})
	paths := func(tree *Tree) map[string]uint64 {
		out := map[string]uint64{}
		require.NoError(t, tree.Walk("", func(f File) error {
			out[f.Path] = f.ID.Num
			return nil
		}))
		return out
	}
	seen, last := 0, 0
	eachEntry(t, log, func(r format.Record) {
		require.NoError(t, a.Feed(r))
		if r.Header().Seq%3 != 0 {
			return
		}
		want := paths(a.Crash())
		require.Equal(t, want, paths(a.State()), "at record %d", r.Header().Seq)
		if len(want) != last {
			seen, last = seen+1, len(want)
		}
	})
	require.Greater(t, seen, 10, "the tree changed")
}
