package fs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// TestNamesWithHalfSurrogates: NTFS and FAT allow them, and two different names
// must stay different.
func TestNamesWithHalfSurrogates(t *testing.T) {
	require.Equal(t, "ö日\U0001f600", fs.UTF16LE([]byte{0xf6, 0, 0xe5, 0x65, 0x3d, 0xd8, 0x00, 0xde}))
	require.NotEqual(t, fs.UTF16LE([]byte{0x3d, 0xd8}), fs.UTF16LE([]byte{0x3e, 0xd8}))
}
