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

// TestScratchRuns: what is written across two places of it is read page by page, and the
// other way round.
func TestScratchRuns(t *testing.T) {
	for _, off := range []int64{chunkBytes - 4096, inMemory - 8192} {
		var s scratch
		run, got := make([]byte, 4*4096), make([]byte, 4*4096)
		for i := range run {
			run[i] = byte(i / 9)
		}
		_, err := s.WriteAt(run, off)
		require.NoError(t, err)
		for i := 0; i < len(run); i += 4096 {
			_, err := s.ReadAt(got[i:i+4096], off+int64(i))
			require.NoError(t, err)
		}
		require.True(t, bytes.Equal(run, got))
		for i := 0; i < len(run); i += 4096 {
			_, err := s.WriteAt(run[len(run)-4096-i:len(run)-i], off+int64(i))
			require.NoError(t, err)
		}
		n, err := s.ReadAt(got, off)
		require.NoError(t, err)
		require.Equal(t, len(got), n)
		require.True(t, bytes.Equal(run[len(run)-4096:], got[:4096]))
		require.NoError(t, s.Close())
	}
}
