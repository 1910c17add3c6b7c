package xfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShortDirOfAnySize: an inode's size is what its directory may use, however much
// room the inode has. A size below the header's is an error, not a directory.
func TestShortDirOfAnySize(t *testing.T) {
	raw := []byte{1, 0, 0, 0, 0, 128, 3, 0, 96, 'a', 'b', 'c', 1, 0, 0, 0, 131, 0, 0, 0}
	s := &Superblock{Version: 5, Ftype: true}
	for size := range uint64(len(raw) + 4) {
		i := &Inode{Ino: 128, Mode: TypeDir, Format: formatLocal, Size: size, literal: raw}
		out, err := s.shortDir(i)
		if size < 17 {
			require.Error(t, err, "size %d", size)
			require.Empty(t, out, "size %d", size)
			continue
		}
		require.NoError(t, err, "size %d", size)
		require.Equal(t, []Dirent{{Name: "abc", Ino: 131, Type: 1}}, out, "size %d", size)
	}
}
