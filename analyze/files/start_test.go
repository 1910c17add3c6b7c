package files

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// laterBase is a base image as it stood after some of a trace's writes: what is
// copied when recording begins under a running guest, its journal in full use.
type laterBase struct {
	format.Image
	pages map[uint64][]byte
}

func (b *laterBase) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	if p, ok := b.pages[n]; ok {
		copy(dst, p)
		return format.PageData, nil
	}
	return b.Image.ReadPage(n, dst)
}

func (b *laterBase) write(t testing.TB, r *format.DiskRequest) {
	data := r.Data
	switch r.Op {
	case format.DiskWrite:
	case format.DiskDiscard:
		data = make([]byte, r.Length)
	default:
		return
	}
	for off := r.Offset; len(data) > 0; {
		n, in := off/format.PageSize, off%format.PageSize
		p := b.pages[n]
		if p == nil {
			p = make([]byte, format.PageSize)
			_, err := b.Image.ReadPage(n, p)
			require.NoError(t, err)
			b.pages[n] = p
		}
		k := copy(p[in:], data)
		off, data = off+uint64(k), data[k:]
	}
}

// openLater opens a trace's base image, to be changed, and its log.
func openLater(t *testing.T, dir string) (base *laterBase, size uint64, log []byte) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	log, err = os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	return &laterBase{Image: &fileImage{f, st.Size()}, pages: map[uint64][]byte{}}, uint64(st.Size()), log
}

// startAt replays a trace whose first n records are in the base already, and
// compares the tree at every mark after them.
func startAt(t *testing.T, dir string, n uint64) (marks int, bad []string) {
	b, size, log := openLater(t, dir)
	var a *Analyzer
	eachEntry(t, bytes.NewReader(log), func(r format.Record) {
		if r.Header().Seq <= n {
			if q, ok := r.(*format.DiskRequest); ok {
				b.write(t, q)
			}
			return
		}
		if a == nil {
			var err error
			a, err = New(size, b, Options{Disk: "xvda"})
			require.NoError(t, err)
		}
		require.NoError(t, a.Feed(r))
		m, ok := r.(*format.Mark)
		if !ok || !strings.HasPrefix(m.Text, "cp") || m.Text == "cp0000" {
			return
		}
		marks++
		want, _ := truth(t, dir, m.Text, a.State())
		now := compare(t, a.State(), want)
		if now = append(now, a.SelfCheck()...); len(now) > 0 {
			bad = append(bad, fmt.Sprintf("from record %d at %s: %d differences: %v", n, m.Text, len(now), now[:min(len(now), 6)]))
			for _, p := range a.Problems() {
				bad = append(bad, fmt.Sprintf("problem: %+v", p))
			}
		}
	})
	return marks, bad
}

func entriesOf(t *testing.T, dir string) (n uint64) {
	f, err := os.Open(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer f.Close()
	eachEntry(t, f, func(r format.Record) { n = r.Header().Seq })
	return n
}

// TestRecordingMayBeginAnywhere: whatever write a recording begins after, the
// tree is exact at every later mark.
func TestRecordingMayBeginAnywhere(t *testing.T) {
	for _, name := range []string{"ext4", "ext3", "nojournal", "fc", "xfs", "btrfs"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			total, marks := entriesOf(t, dir), 0
			for k := range uint64(12) {
				m, bad := startAt(t, dir, 3+(total-6)*k/12)
				require.Empty(t, bad)
				marks += m
			}
			require.Greater(t, marks, 12)
		})
	}
}

// TestMoreTracesFromAnywhere does the same with the traces under XENTAPE_TRACES.
func TestMoreTracesFromAnywhere(t *testing.T) {
	eachTrace(t, "man", func(t *testing.T, dir string) {
		total := entriesOf(t, dir)
		for _, k := range []uint64{137, 401, 733} {
			marks, bad := startAt(t, dir, total*k/1000)
			t.Logf("from record %d: %d marks compared, %d differ", total*k/1000, marks, len(bad))
			for _, b := range bad {
				t.Errorf("%.600s", b)
			}
		}
	})
}
