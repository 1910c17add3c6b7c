package files

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestGapReadBack loses the middle of a trace and closes the gap as a recorder
// does: it says so, and reads the device again. Afterwards the tree is right, and
// what came and went meanwhile is reported.
func TestGapReadBack(t *testing.T) {
	dir := unpack(t, "ext4")
	base, err := os.ReadFile(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	a, log := openTrace(t, dir, Options{})
	device, events := bytes.Clone(base), []Event{}
	marks := 0
	eachEntry(t, log, func(r format.Record) {
		if q, ok := r.(*format.DiskRequest); ok {
			copy(device[q.Offset:], q.Data)
			if q.Op == format.DiskDiscard {
				clear(device[q.Offset : q.Offset+q.Length])
			}
			if marks >= 3 && marks < 8 {
				return // lost
			}
		}
		if m, ok := r.(*format.Mark); ok && m.Text != "mounted" {
			marks++
			if marks == 8 {
				readBack(t, a, device, m)
			}
			if marks < 3 || marks >= 8 {
				bad := compare(t, a.State(), readManifest(t, filepath.Join(dir, "man", m.Text+".jsonl")))
				require.Empty(t, bad, m.Text)
			}
		}
		require.NoError(t, a.Feed(r))
		events = append(events, a.Events()...)
	})
	require.False(t, a.Complete())
	require.Equal(t, "gap", a.Problems()[0].Kind)
	found := map[Op]string{}
	for _, e := range events {
		if e.Path == "/etc/cron.d/upd" || e.Path == "/home/v" {
			found[e.Op] = e.Path
		}
		require.NotEqual(t, "/home/u/doc05.txt", e.OldPath, "what happened in the gap is not made up")
	}
	require.Equal(t, "/etc/cron.d/upd", found[OpCreate])
	require.Equal(t, "/home/v", found[OpRename])
}

func readBack(t *testing.T, a *Analyzer, device []byte, m *format.Mark) {
	t.Helper()
	stamp := m.Stamp
	require.NoError(t, a.Feed(&format.Gap{Stamp: stamp, From: 1, To: 2, Reason: format.GapOverflow, Count: format.Unknown}))
	require.Zero(t, countFiles(t, a), "after the gap nothing is known of the disk")
	for off := 0; off < len(device); off += 1 << 20 {
		data := device[off:min(off+1<<20, len(device))]
		require.NoError(t, a.Feed(&format.DiskRequest{Stamp: stamp, Op: format.DiskWrite, Flags: format.DiskReadback,
			Offset: uint64(off), Length: uint64(len(data)), Data: data}))
	}
}

// countFiles counts the files whose attributes can be read.
func countFiles(t *testing.T, a *Analyzer) int {
	t.Helper()
	n := 0
	tree := a.State()
	require.NoError(t, tree.Walk("", func(f File) error {
		if f.Live {
			n++
		}
		return nil
	}))
	return n
}

// TestRequestsApplyAtCompletion: order is that of completions, and what failed
// did not happen.
func TestRequestsApplyAtCompletion(t *testing.T) {
	const size = 1 << 20
	a, err := New(size, nil, Options{Disk: "xvda"})
	require.NoError(t, err)
	page := func(b byte) []byte { return bytes.Repeat([]byte{b}, format.PageSize) }
	write := func(seq, id uint64, b byte, off uint64) {
		require.NoError(t, a.Feed(&format.DiskRequest{Stamp: format.Stamp{Seq: seq}, ID: id, Op: format.DiskWrite, Offset: off, Length: format.PageSize, Data: page(b)}))
	}
	done := func(seq, id uint64, status int32) {
		require.NoError(t, a.Feed(&format.DiskCompletion{Stamp: format.Stamp{Seq: seq}, ID: id, Status: status}))
	}
	read := func(n uint64) byte {
		var p [format.PageSize]byte
		st, err := a.Disk().ReadPage(n, p[:])
		require.NoError(t, err)
		if st != format.PageData {
			return 0
		}
		return p[0]
	}
	write(1, 7, 'a', 0)
	write(2, 8, 'b', 0)
	require.Zero(t, read(0), "submitted is not written")
	done(3, 8, 0)
	require.Equal(t, byte('b'), read(0))
	done(4, 7, 0)
	require.Equal(t, byte('a'), read(0))
	write(5, 9, 'c', 0)
	done(6, 9, 5)
	require.Equal(t, byte('a'), read(0), "a failed write did not happen")
	done(7, 1000, 0)
}
