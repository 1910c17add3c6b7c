package linux_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
)

// types of a kernel that has none.
func noTypes() []byte {
	b := []byte{0x9f, 0xeb, 1, 0}
	for _, w := range []uint32{24, 0, 0, 0, 1} {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return append(b, 0)
}

func TestSymbolFileNamesItsKernel(t *testing.T) {
	id, banner, err := linux.ParseSymbols(imagetest.Vmlinux(noTypes(), []byte{1, 2, 0xfe, 0xff}, "Linux version 9 (a) #1"))
	require.NoError(t, err)
	require.Equal(t, "0102feff", id)
	require.Equal(t, "Linux version 9 (a) #1", banner)

	id, banner, err = linux.ParseSymbols(imagetest.Vmlinux(noTypes(), nil, "FreeBSD"))
	require.NoError(t, err)
	require.Empty(t, id)
	require.Empty(t, banner)

	for name, b := range map[string][]byte{
		"no section":   imagetest.Vmlinux(nil, []byte{1}, "Linux version 9"),
		"cut":          imagetest.Vmlinux(noTypes(), []byte{1}, "Linux version 9")[:200],
		"not a format": []byte("PK\x03\x04"),
		"xz":           []byte("\xfd7zXZ\x00"),
		"bad gzip":     []byte("\x1f\x8b\x08nothing"),
		"empty":        {},
		"empty gzip":   []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"cut json":     []byte("{\"symbols\""),
	} {
		_, _, err := linux.ParseSymbols(b)
		require.ErrorContains(t, err, "symbol file", name)
	}
}

// FuzzSymbolFile: whatever is taken for a symbol file gives the same answer twice.
func FuzzSymbolFile(f *testing.F) {
	f.Add(imagetest.Vmlinux(noTypes(), []byte{1, 2, 3, 4}, "Linux version 9"))
	f.Add(noTypes())
	f.Add([]byte(`{"user_types":{"a":{"size":8}},"symbols":{"linux_banner":{"address":1,"constant_data":"TGludXg="}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, banner, err := linux.ParseSymbols(b)
		again, same, err2 := linux.ParseSymbols(b)
		require.Equal(t, id, again)
		require.Equal(t, banner, same)
		require.Equal(t, err == nil, err2 == nil)
	})
}
