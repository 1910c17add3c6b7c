package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func raw(t *testing.T, pages ...byte) string {
	var b []byte
	for _, p := range pages {
		b = append(b, bytes.Repeat([]byte{p}, format.PageSize)...)
	}
	name := filepath.Join(t.TempDir(), "memory.raw")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}

func TestEqualImagesAreEqual(t *testing.T) {
	var out bytes.Buffer
	same, err := run(raw(t, 1, 2, 0, 3), raw(t, 1, 2, 0, 3), &out)
	require.NoError(t, err)
	require.True(t, same, out.String())
	require.Contains(t, out.String(), "4 pages compared, 0 differ")
}

func TestOneByteIsFound(t *testing.T) {
	a, b := raw(t, 1, 2, 3), raw(t, 1, 2, 3)
	f, err := os.OpenFile(b, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{9}, format.PageSize+17)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	var out bytes.Buffer
	same, err := run(a, b, &out)
	require.NoError(t, err)
	require.False(t, same)
	require.Contains(t, out.String(), "page 0x1: 1 bytes differ, from 0x11 to 0x12 (grants not known)")
}

func TestPagesOfOneImageOnlyAreFound(t *testing.T) {
	var out bytes.Buffer
	same, err := run(raw(t, 1, 2), raw(t, 1, 2, 3), &out)
	require.NoError(t, err)
	require.False(t, same)
	require.Contains(t, out.String(), "page 0x2")
	require.Contains(t, out.String(), "in the other")
}
