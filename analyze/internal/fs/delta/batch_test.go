package delta

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

type states map[fs.ID]State

func (s states) State(id fs.ID) State { return s[id] }

func live(n uint64, size uint64) fs.Attr {
	return fs.Attr{ID: fs.ID{Num: n}, Live: true, Type: fs.TypeFile, Size: size}
}

func TestBuildTellsDifferencesOnly(t *testing.T) {
	dir, a, b, same := fs.ID{Num: 2}, fs.ID{Num: 10}, fs.ID{Num: 11}, fs.ID{Num: 12}
	name := func(n string, c fs.ID) fs.Dirent { return fs.Dirent{Parent: dir, Name: n, Child: c} }
	s := states{
		dir:  {Names: []fs.Dirent{name("old", a), name("kept", same), name("twice", same)}},
		a:    {Attr: live(10, 1)},
		same: {Attr: live(12, 5), Xattrs: []fs.Xattr{{Name: "user.k", Value: []byte("v")}}},
	}
	batch := New(s)
	for _, id := range []fs.ID{b, same, a, dir} {
		require.True(t, batch.Before(id))
		require.False(t, batch.Before(id), "the first state counts")
	}
	batch.At(fs.Stamp{Seq: 9})
	s[dir] = State{Names: []fs.Dirent{name("kept", same), name("new", a), name("twice", b)}}
	s[b] = State{Attr: live(11, 3), Extents: []fs.Extent{{Physical: 4096, Length: 4096}}}
	batch.Wrote(b, fs.Range{Off: 4096, Len: 10}, fs.Stamp{Seq: 3}, fs.Stamp{Seq: 3})
	batch.Wrote(b, fs.Range{Off: 0, Len: 4096}, fs.Stamp{Seq: 4}, fs.Stamp{Seq: 4})
	var tx fs.Tx
	moved := 0
	require.True(t, batch.Build(&tx, func(c Change) { moved++; require.Equal(t, b, c.ID) }))
	require.Equal(t, 1, moved)
	require.Equal(t, []fs.InodeChange{{ID: b, New: live(11, 3), Content: true}}, tx.Inodes)
	require.Equal(t, []fs.Dirent{name("old", a), name("twice", same)}, tx.Removed)
	require.Equal(t, []fs.Dirent{name("new", a), name("twice", b)}, tx.Added)
	require.Equal(t, []fs.Range{{Off: 0, Len: 4106}}, tx.Data[0].Ranges)
	require.Equal(t, uint64(3), tx.First.Seq)
	require.Equal(t, uint64(9), tx.Last.Seq)
	require.True(t, batch.Empty())
	require.False(t, batch.Build(&fs.Tx{}, nil))
}

// TestUnreadableIsNotGone: a directory that cannot be read now has lost nothing
// that we know of.
func TestUnreadableIsNotGone(t *testing.T) {
	dir := fs.ID{Num: 2}
	s := states{dir: {Names: []fs.Dirent{{Parent: dir, Name: "a", Child: fs.ID{Num: 3}}}}}
	batch := New(s)
	batch.Before(dir)
	s[dir] = State{Unknown: true}
	var tx fs.Tx
	batch.Build(&tx, nil)
	require.Empty(t, tx.Removed)
}

// TestKeptUntilReadable: what was kept goes when the directory can be read again and does
// not have it, though at the time nothing more could be read of it.
func TestKeptUntilReadable(t *testing.T) {
	dir := fs.ID{Num: 2}
	name := func(n string, c uint64) fs.Dirent { return fs.Dirent{Parent: dir, Name: n, Child: fs.ID{Num: c}} }
	s := states{dir: {Names: []fs.Dirent{name("a", 3), name("b", 4), name("c", 5)}}}
	batch := New(s)
	build := func(st State) fs.Tx {
		var tx fs.Tx
		batch.Before(dir)
		s[dir] = st
		batch.Build(&tx, nil)
		return tx
	}
	tx := build(State{Unknown: true, Names: []fs.Dirent{name("a", 3)}})
	require.Empty(t, tx.Removed)
	require.Equal(t, []fs.Dirent{name("b", 4), name("c", 5)}, batch.Kept())
	tx = build(State{Unknown: true})
	require.Empty(t, tx.Removed)
	require.Equal(t, []fs.Dirent{name("a", 3), name("b", 4), name("c", 5)}, batch.Kept())
	tx = build(State{Names: []fs.Dirent{name("c", 5), name("d", 6)}})
	require.Equal(t, []fs.Dirent{name("a", 3), name("b", 4)}, tx.Removed)
	require.Equal(t, []fs.Dirent{name("d", 6)}, tx.Added)
	require.Empty(t, batch.Kept())
}
