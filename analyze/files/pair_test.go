package files

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestPairsOfVeryManyNames: a file may have 65,000 names (EXT4_LINK_MAX), and all of
// them change in one transaction. Each is paired once, and not each weighed with each.
func TestPairsOfVeryManyNames(t *testing.T) {
	const names = 65000
	id, dir := fs.ID{Num: 12}, fs.ID{Num: 2}
	var added []fs.Dirent
	by := map[fs.ID][]*gone{}
	for i := range names {
		added = append(added, fs.Dirent{Parent: dir, Name: fmt.Sprint("new", i), Child: id})
		by[id] = append(by[id], &gone{Dirent: fs.Dirent{Parent: dir, Name: fmt.Sprint("old", i), Child: id}})
	}
	c := &classifier{inodes: map[fs.ID]*fs.InodeChange{}}
	taken := map[*gone]bool{}
	for i, g := range c.pairs(added, by) {
		require.NotNil(t, g)
		require.False(t, taken[g])
		require.True(t, g.several)
		taken[g] = true
		require.Equal(t, by[id][i], g)
	}
}
