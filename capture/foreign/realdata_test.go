package foreign

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// dataDir is where the large recordings lie; see data/README.md of the project's
// working data. The properties tested on them are covered on built files too.
func dataDir(t *testing.T, room string) string {
	t.Helper()
	return need.Recording(t, room)
}

func openMemoryFile(t *testing.T, path string) *MemoryImage {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	m, err := OpenMemory(f, st.Size(), path)
	require.NoError(t, err)
	return m
}

// The same moment of one guest, as QEMU wrote it and as Xen cores.
func TestXenCoresEqualTheVmcoreTheyWereMadeFrom(t *testing.T) {
	dir := dataDir(t, "memory")
	want := openMemoryFile(t, filepath.Join(dir, "deb12-6.1.t1.elf"))
	require.Contains(t, want.Attachments(), "elf/note/QEMU/1")
	for _, name := range []string{"hvm", "hvm-inv", "pv-synthetic"} {
		got := openMemoryFile(t, filepath.Join(dir, "deb12-6.1.t1."+name+".xencore"))
		require.Equal(t, []format.Extent{{Start: 0, Count: 0x10000}}, got.Extents(), name)
		a, b := make([]byte, format.PageSize), make([]byte, format.PageSize)
		differ := 0
		for n := uint64(0); n < 0x10000; n++ {
			_, err := want.ReadPage(n, a)
			require.NoError(t, err)
			_, err = got.ReadPage(n, b)
			require.NoError(t, err)
			if string(a) != string(b) {
				differ++
			}
		}
		t.Logf("%s: %d pages differ; attachments %v; warnings %v", name, differ, got.Attachments(), got.Warnings)
		if name != "pv-synthetic" { // there page tables were rewritten to hold mfns
			require.Zero(t, differ, name)
		}
	}
}
