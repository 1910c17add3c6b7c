package fat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

func pieces(b []byte) []placed {
	var out []placed
	for k := 0; k+entrySize <= len(b); k += entrySize {
		out = append(out, placed{b[k : k+entrySize], uint64(k)})
	}
	return out
}

// FuzzDirectory: files lie at places that were given, each at its own, with names.
func FuzzDirectory(f *testing.F) {
	for _, name := range []string{"fat32", "exfat"} {
		r := recording(f, name)
		fstest.Apply(f, r.Base, r.Log)
		v, err := OpenVolume(r.Base)
		require.NoError(f, err)
		b := make([]byte, 4096)
		_, err = r.Base.ReadAt(b, int64(v.boot.offset(v.boot.Root)))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ex, _ := parseEx(pieces(b))
		for _, list := range [][]entry{parseFAT(pieces(b), true), parseFAT(pieces(b), false), ex} {
			last := int64(-1)
			for _, e := range list {
				require.Greater(t, int64(e.loc), last)
				require.Less(t, e.loc*entrySize, uint64(len(b)))
				last = int64(e.loc)
			}
		}
	})
}

// FuzzBoot: a geometry that is accepted keeps every cluster inside the volume.
func FuzzBoot(f *testing.F) {
	for _, name := range []string{"fat12", "fat16", "fat32", "exfat"} {
		b := make([]byte, bootSize)
		_, err := recording(f, name).Base.ReadAt(b, 0)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseBoot(b)
		if err != nil {
			return
		}
		require.NotZero(t, o.Clusters)
		require.LessOrEqual(t, o.offset(o.Clusters+1)+o.Cluster, o.Size)
		v := &Volume{r: &fstest.Sparse{Bytes: 1 << 20}, boot: o}
		ext, _ := v.extents(2, 1<<20, false)
		for _, e := range ext {
			if e.State == fs.ExtentData {
				require.LessOrEqual(t, e.Physical+e.Length, o.Size)
			}
		}
	})
}
