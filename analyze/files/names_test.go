package files

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestOneNameOfSeveralFiles: of files that the disk gives one name that one has it which
// changed last, in whatever order they came to have it, and when it loses the name the
// next has it.
func TestOneNameOfSeveralFiles(t *testing.T) {
	root := fs.ID{Num: 5}
	x := func(n uint64) fs.Dirent { return fs.Dirent{Parent: root, Name: "x", Child: fs.ID{Num: n}} }
	at := map[uint64]fs.Attr{ // 30 and 40 cannot be told apart but by their numbers, 50 cannot be read
		10: {CTime: 700}, 20: {CTime: 300, BTime: 2}, 30: {CTime: 300, BTime: 9}, 40: {CTime: 300, BTime: 9},
	}
	stat := func(id fs.ID) (fs.Attr, error) {
		if a, ok := at[id.Num]; ok {
			return a, nil
		}
		return fs.Attr{CTime: 900}, fmt.Errorf("inode %v: %w", id, fs.ErrCorrupt)
	}
	for _, order := range [][]uint64{{10, 20, 30, 40, 50}, {50, 40, 30, 20, 10}, {30, 10, 50, 40, 20}} {
		n := newNames(root)
		for _, num := range order {
			n.add(x(num))
		}
		n.add(x(30)) // in two blocks of its directory
		for _, next := range []uint64{10, 40, 30, 20, 50} {
			n.decide(stat)
			id, ok := n.lookup("/x")
			require.True(t, ok)
			require.Equal(t, next, id.Num, "%v", order)
			require.Equal(t, []place{{root, "x"}}, n.of[id])
			require.Len(t, n.of, 1, "the others have no name")
			require.Equal(t, next == 30, n.once(x(next)))
			require.False(t, n.once(x(next)))
			n.remove(x(next))
		}
		n.decide(stat)
		require.Empty(t, n.entries)
		require.Empty(t, n.of)
		require.Empty(t, n.rivals)
		require.Empty(t, n.twice)
	}
}

// TestRivalGoes: one that goes while another file has its name leaves that with it.
func TestRivalGoes(t *testing.T) {
	root := fs.ID{Num: 5}
	x := func(n uint64) fs.Dirent { return fs.Dirent{Parent: root, Name: "x", Child: fs.ID{Num: n}} }
	n := newNames(root)
	n.add(x(10))
	n.add(x(20))
	require.True(t, n.rival(x(10)))
	require.False(t, n.rival(x(20)))
	n.remove(x(10))
	require.False(t, n.rival(x(10)))
	n.decide(func(id fs.ID) (fs.Attr, error) { return fs.Attr{CTime: int64(-id.Num)}, nil })
	id, ok := n.lookup("/x")
	require.True(t, ok)
	require.Equal(t, uint64(20), id.Num)
}
