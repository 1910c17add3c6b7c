package files

import (
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestVersionsAgreeWithTheManifests: at every mark the newest version of a path
// is what the guest's own tree held, and a path that is gone is said to be.
func TestVersionsAgreeWithTheManifests(t *testing.T) {
	for _, name := range []string{"ext4", "nojournal", "fc"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			a, log := openTrace(t, dir, Options{Hash: true})
			h := NewHistory(a, func(string) bool { return true })
			newest := map[string]Version{}
			keep := func(vs []Version) {
				for _, v := range vs {
					newest[v.Path] = v
				}
			}
			vs, err := h.Base()
			require.NoError(t, err)
			keep(vs)
			marks, gone := 0, 0
			eachEntry(t, log, func(r format.Record) {
				require.NoError(t, a.Feed(r))
				keep(h.See(a.Events()))
				m, ok := r.(*format.Mark)
				if !ok {
					return
				}
				want := readManifest(t, path.Join(dir, "man", m.Text+".jsonl"))
				marks++
				for p, w := range want {
					v, ok := newest[p]
					require.True(t, ok && v.Present, "%s at %s", p, m.Text)
					if w.T == "f" {
						require.Equal(t, w.Sha, v.SHA256, "%s at %s", p, m.Text)
						require.Equal(t, w.Mode, v.Mode.Bits, p)
					}
				}
				for p, v := range newest {
					_, there := want[p]
					require.Equal(t, there, v.Present, "%s at %s: %+v", p, m.Text, v)
					if !there {
						gone++
					}
				}
			})
			require.Greater(t, marks, 5)
			require.NotZero(t, gone)
		})
	}
}

// TestListing: a listing says of every path what the guest said of it.
func TestListing(t *testing.T) {
	dir := unpack(t, "ext4")
	a, log := openTrace(t, dir, Options{})
	lists := 0
	eachEntry(t, log, func(r format.Record) {
		require.NoError(t, a.Feed(r))
		m, ok := r.(*format.Mark)
		if !ok {
			return
		}
		want, n := readManifest(t, path.Join(dir, "man", m.Text+".jsonl")), 0
		for _, tree := range []*Tree{a.State(), a.Crash()} {
			require.NoError(t, tree.List("", true, func(e *Entry) error {
				w := want[e.Path]
				n++
				require.Empty(t, e.Unknown, e.Path)
				require.Equal(t, "xvda", e.Disk)
				require.Equal(t, w.Ino, e.Inode, e.Path)
				require.Equal(t, w.Sha, e.SHA256, e.Path)
				require.Equal(t, w.MT, int64(e.MTime), e.Path)
				require.Len(t, e.Xattrs, len(w.X), e.Path)
				return nil
			}))
		}
		require.Equal(t, 2*len(want), n)
		lists++
	})
	require.Greater(t, lists, 5)
}

// TestCommittedIsTheCrashViewInPlace: with what the journal committed laid over
// the disk, a reader that replays nothing sees the live tree.
func TestCommittedIsTheCrashViewInPlace(t *testing.T) {
	dir := unpack(t, "ext4")
	a, log := openTrace(t, dir, Options{})
	laid := 0
	eachEntry(t, log, func(r format.Record) {
		require.NoError(t, a.Feed(r))
		if r.Header().Seq%29 != 0 {
			return
		}
		buf := make([]byte, 64<<10)
		a.Committed(func(off uint64, data []byte) {
			n, err := a.disk.ReadAt(buf[:len(data)], int64(off))
			require.NoError(t, err)
			require.Equal(t, len(data), n)
			if string(buf[:n]) != string(data) {
				laid++
			}
		})
	})
	require.NotZero(t, laid, "nothing was ever ahead of its place")
}
