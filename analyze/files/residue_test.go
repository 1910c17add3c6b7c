package files

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/corpus/need"
)

// TestResidue: names that directories of NTFS keep are told by path, with where the
// file is now when it lives on; of a filesystem whose directories are not looked at
// that is said.
func TestResidue(t *testing.T) {
	a, _ := replayTrace(t, need.Recording(t, "disk", "ntfs-attack", "ntfs-attack"), Options{})
	tree, moved := a.State(), 0
	require.NoError(t, tree.Residue("", func(r *Residue) {
		require.Equal(t, fs.ResidueRemoved, r.Kind)
		require.True(t, strings.HasPrefix(r.Path, "/"), r.Path)
		if _, err := tree.Lookup("", r.Path); err == nil { // another file has the name now
			require.NotEqual(t, r.Path, r.Present)
		}
		if r.Present == "" {
			return
		}
		f, err := tree.Lookup("", r.Present)
		require.NoError(t, err)
		require.Equal(t, r.Inode, f.ID.Num)
		moved++
	}))
	require.NotZero(t, moved)
}

func TestNoResidue(t *testing.T) {
	a, _ := replayTrace(t, unpack(t, "ext4"), Options{})
	require.ErrorIs(t, a.State().Residue("", func(*Residue) { t.Error("something was told") }), ErrNoResidue)
}
