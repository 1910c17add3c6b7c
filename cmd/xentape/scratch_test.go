package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScratchSpills: what does not fit on the heap is in a file, which is gone
// afterwards.
func TestScratchSpills(t *testing.T) {
	var s scratch
	page := bytes.Repeat([]byte("scratch!"), 512)
	offsets := []int64{0, 4096, 1 << 20, inMemory - 4096, inMemory, inMemory + 8192}
	for i, off := range offsets {
		page[0] = byte(i)
		_, err := s.WriteAt(page, off)
		require.NoError(t, err)
	}
	require.NotNil(t, s.file)
	got := make([]byte, 4096)
	for i, off := range offsets {
		_, err := s.ReadAt(got, off)
		require.NoError(t, err)
		page[0] = byte(i)
		require.Equal(t, page, got)
	}
	name := s.file.Name()
	require.NoError(t, s.Close())
	_, err := os.Stat(name)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = s.ReadAt(got, inMemory)
	require.Error(t, err)
}
