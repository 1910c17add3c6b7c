package fstest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// CheckHoles reads an image of which every stride-th page that holds anything was
// never captured. Nothing that is read may be wrong: a path, its attributes and
// its content are the manifest's, or are said to be unknown.
func CheckHoles(t testing.TB, open Opener, base *Sparse, manifest []Entry, stride int64, normal Normal) {
	t.Helper()
	missing := map[uint64]bool{}
	for k, n := range base.NonZero(1 << 30) {
		// The superblock must be there to know what this is.
		if int64(k)%stride == 1 && n > 16 {
			missing[uint64(n)] = true
		}
	}
	require.NotEmpty(t, missing)
	r, err := Start(open, fs.NewOverlay(uint64(base.Bytes), Holes{Image{R: base, Size: base.Bytes}, missing}, nil))
	if err != nil {
		require.True(t, fs.IsUnknown(err), "%v", err)
		return
	}
	want := map[string]Entry{}
	for _, e := range manifest {
		normal(&e)
		want[e.Path] = e
	}
	right, unknown := r.known(normal, want, t)
	t.Logf("%d paths right, %d unknown in part, of %d", right, unknown, len(want))
	if right+unknown < len(want) {
		require.NotEmpty(t, r.Model.Problems, "what is missing is said to be")
	}
}

// known compares every path that the model has.
func (r *Run) known(normal Normal, want map[string]Entry, t testing.TB) (right, unknown int) {
	var walk func(id fs.ID, path string, deep int)
	walk = func(id fs.ID, path string, deep int) {
		a, err := r.FS.Stat(id)
		if err == nil {
			var e Entry
			if e, err = entry(r.FS, a, path, map[fs.ID]string{}); err == nil {
				normal(&e)
				if e.Path == "" {
					return
				}
				require.Equal(t, want[e.Path], e)
				right++
			}
		}
		if err != nil {
			unknown++
		}
		if deep > 64 {
			return
		}
		for n, d := range r.Model.Names[id] {
			walk(d.Child, join(path, n), deep+1)
		}
	}
	walk(r.FS.Info().Root, "/", 0)
	return right, unknown
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}
