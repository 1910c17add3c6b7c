package files

import (
	"strings"
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

// TestHalvesAreTold: cut anywhere, the events of a disk without a journal lead from
// the tree at the start to the tree at the cut. A name whose inode had not arrived is
// told of, and so is one that went while its inode stayed.
func TestHalvesAreTold(t *testing.T) {
	dir := unpack(t, "nojournal")
	halves := 0
	for cut := uint64(40); cut < 2000; cut += 23 {
		a, log := openTrace(t, dir, Options{})
		f := newFolder(a.State())
		fed := func() {
			es := a.Events()
			for _, e := range es {
				if n := len(e.Notes); n > 0 && (e.Notes[n-1] == unconfirmed || strings.Contains(e.Notes[n-1], "when the tape ended")) {
					halves++
				}
				require.NotContains(t, e.Path, "<inode", "%+v", e)
			}
			f.add(es)
		}
		eachEntry(t, log, func(r format.Record) {
			if r.Header().Seq <= cut {
				require.NoError(t, a.Feed(r))
				fed()
			}
		})
		require.NoError(t, a.Finish())
		fed()
		f.flush()
		want := map[string]bool{}
		require.NoError(t, a.State().Walk("", func(x File) error {
			want[x.Path] = true
			return nil
		}))
		for p := range f.paths {
			require.True(t, want[p], "cut at %d: by events extra %s", cut, p)
		}
		for p := range want {
			require.NotEmpty(t, f.paths[p], "cut at %d: by events missing %s", cut, p)
		}
	}
	require.NotZero(t, halves)
}
