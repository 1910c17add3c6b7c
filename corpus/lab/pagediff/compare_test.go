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
	same, err := run(raw(t, 1, 2, 0, 3), raw(t, 1, 2, 0, 3), "", false, &out)
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
	same, err := run(a, b, "", false, &out)
	require.NoError(t, err)
	require.False(t, same)
	require.Contains(t, out.String(), "page 0x1: 1 bytes differ, from 0x11 to 0x12 (grants not known)")
}

func TestMorePagesMayBeAllowed(t *testing.T) {
	var out bytes.Buffer
	same, err := run(raw(t, 1, 2), raw(t, 1, 2, 3, 4), "", true, &out)
	require.NoError(t, err)
	require.True(t, same)
	require.Contains(t, out.String(), "only: 0x2-0x3\n2 pages compared, 0 differ")
	for _, second := range []string{raw(t, 1, 3, 3), raw(t, 1)} {
		same, err = run(raw(t, 1, 2), second, "", true, &out)
		require.NoError(t, err)
		require.False(t, same, "a page that differs, or is in the first image only, is none too many")
	}
}

func TestPagesOfOneImageOnlyAreFound(t *testing.T) {
	var out bytes.Buffer
	same, err := run(raw(t, 1, 2), raw(t, 1, 2, 3), "", false, &out)
	require.NoError(t, err)
	require.False(t, same)
	require.Contains(t, out.String(), "page 0x2")
	require.Contains(t, out.String(), "in the other")
}

func TestPageMayBeAsItWasLater(t *testing.T) {
	var out bytes.Buffer
	same, err := run(raw(t, 1, 2, 3), raw(t, 1, 9, 3), raw(t, 8, 2, 8), false, &out)
	require.NoError(t, err)
	require.True(t, same)
	require.Contains(t, out.String(), "1 of these 1 pages are as")
	same, err = run(raw(t, 1, 2, 3), raw(t, 1, 9, 9), raw(t, 1, 2, 8), false, &out)
	require.NoError(t, err)
	require.False(t, same)
	require.Contains(t, out.String(), "page 0x2: differs from")
}
