package files

import (
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/format"
)

// TestBlocksAreTheFilesBlocks: at the moment of each write event, the blocks it
// names are those the file has.
func TestBlocksAreTheFilesBlocks(t *testing.T) {
	dir := unpack(t, "ext4")
	checked := 0
	o := Options{Hash: true, Blocks: true, Emit: func(e Event) {
		if len(e.Blocks) == 0 {
			return
		}
		require.Equal(t, OpWrite, e.Op)
		c, err := e.vol.fs.Content(e.id)
		require.NoError(t, err)
		for _, b := range e.Blocks {
			require.Zero(t, b.Off%BlockSize)
			want := make([]byte, BlockSize)
			_, err := c.ReadAt(want[:min(BlockSize, *e.Size-b.Off)], int64(b.Off))
			require.True(t, err == nil || errors.Is(err, io.EOF))
			require.Equal(t, sha256.Sum256(want), b.Sum)
			require.False(t, uniform(want))
			checked++
		}
	}}
	a, log := openTrace(t, dir, o)
	eachEntry(t, log, func(r format.Record) { require.NoError(t, a.Feed(r)) })
	require.Greater(t, checked, 20)
}

func TestBlocksOfRangesThatShareOne(t *testing.T) {
	var v volumeState
	v.fs = oneFile{b: make([]byte, 3*BlockSize+7)}
	require.Empty(t, v.blocks(fs.ID{}, []fs.Range{{Off: 0, Len: 1 << 40}}, 3*BlockSize+7), "zeros are alike in every file")
	b := make([]byte, 3*BlockSize+7)
	for i := range b {
		b[i] = byte(i / 3)
	}
	v.fs = oneFile{b: b}
	got := v.blocks(fs.ID{}, []fs.Range{{Off: 10, Len: 20}, {Off: 40, Len: 1}, {Off: BlockSize - 1, Len: 2}, {Off: 3 * BlockSize, Len: 900}}, uint64(len(b)))
	require.Len(t, got, 3)
	require.Equal(t, []uint64{0, BlockSize, 3 * BlockSize}, []uint64{got[0].Off, got[1].Off, got[2].Off})
}

// oneFile is a filesystem of which only the content of one file is asked for.
type oneFile struct {
	fs.Filesystem
	b []byte
}

func (f oneFile) Content(fs.ID) (fs.Content, error) { return fs.NewInline(uint64(len(f.b)), f.b), nil }
