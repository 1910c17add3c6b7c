package xfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestShortestAttributeAtTheEnd: names of a leaf are put from its end on, and one with an
// empty value takes eight bytes there, fewer than an entry with a value elsewhere.
func TestShortestAttributeAtTheEnd(t *testing.T) {
	b := make([]byte, 1024)
	be.PutUint16(b[8:], attrLeafV5)
	be.PutUint16(b[56:], 1)
	be.PutUint16(b[80+4:], 1016)
	b[80+6] = attrFlLocal
	b[1016+2] = 2
	copy(b[1016+3:], "k0")
	w := attrWalk{v: &Volume{sb: &Superblock{Version: 5}}, i: &Inode{}}
	w.leaf(b)
	require.NoError(t, w.err)
	require.Equal(t, []fs.Xattr{{Name: "user.k0"}}, w.out)

	b[80+6] = 0 // and one with a value elsewhere does not fit there
	w = attrWalk{v: w.v, i: w.i}
	w.leaf(b)
	require.ErrorIs(t, w.err, errAttrEntry)
}
