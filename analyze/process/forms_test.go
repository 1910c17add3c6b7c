package process_test

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
	"github.com/xentape/xentape/replay/export"
)

// The same memory gives the same processes in every form it can have.
func TestFormsAgree(t *testing.T) {
	for name, write := range map[string]func(export.File, replay.Memory) ([]string, error){
		"elf": func(f export.File, m replay.Memory) ([]string, error) {
			return export.ELF(f, m, nil)
		},
		"xen-core": export.XenCore,
		"lime":     export.LiME,
	} {
		t.Run(name, func(t *testing.T) {
			intruded(t, func(t *testing.T, s *imagetest.Sparse, w *truth, o process.Options) {
				path := filepath.Join(t.TempDir(), "image")
				f, err := os.Create(path)
				require.NoError(t, err)
				_, err = write(f, s) // what is lost is vCPU state, which VMCOREINFO stands in for
				require.NoError(t, err)
				require.NoError(t, f.Close())
				a := process.New(o)
				require.NoError(t, a.Feed(openImage(t, path, 2)))
				requireEqual(t, w, a.At(2))
				requireSockets(t, w, a.At(2))
			})
		})
	}
}

// tape writes snapshots as a recorder does, the later ones as differences, and
// opens what was written.
func tape(t *testing.T, images []*imagetest.Sparse) *replay.Tape {
	var b bytes.Buffer
	w, err := format.NewWriter(&b, format.WriterOptions{Producer: "test"})
	require.NoError(t, err)
	stream, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory"})
	require.NoError(t, err)
	parent := uint32(0)
	for i, m := range images {
		at := format.Stamp{Stream: stream, Time: int64(i+1) * 1e9}
		s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: at, Parent: parent, Pages: 1 << 16})
		require.NoError(t, err)
		frames := slices.Sorted(maps.Keys(m.Frames))
		for _, f := range frames {
			if i == 0 || images[i-1].Frames[f] == nil || *images[i-1].Frames[f] != *m.Frames[f] {
				require.NoError(t, s.Page(f, m.Frames[f][:]))
			}
		}
		require.NoError(t, s.End(format.SnapshotEnd{Stamp: at, Conditions: format.Conditions{Paused: true, Complete: true, Method: "full"}}))
		parent = s.ID()
	}
	require.NoError(t, w.Seal())
	tp, err := replay.New("tape", bytes.NewReader(b.Bytes()), int64(b.Len()), replay.Options{})
	require.NoError(t, err)
	return tp
}

// A tape's snapshots, each stored as what changed, give what the images do; and
// following it one at a time ends where a replay from the start does.
func TestTape(t *testing.T) {
	for _, name := range []string{"deb12-6.1", older} {
		t.Run(name, func(t *testing.T) {
			images, truths := fixture(t, name)
			tp := tape(t, images)
			require.Len(t, tp.Snapshots(), len(images))
			a, again := process.New(options(t, name)), process.New(options(t, name))
			for n := 1; n <= len(images); n++ {
				m, err := tp.Memory(n)
				require.NoError(t, err)
				require.NoError(t, a.Feed(m))
				requireEqual(t, truths[n-1], a.At(n))
				requireSockets(t, truths[n-1], a.At(n))
			}
			for n := 1; n <= len(images); n++ {
				m, err := tp.Memory(n)
				require.NoError(t, err)
				require.NoError(t, again.Feed(m))
			}
			require.Equal(t, digest(t, a), digest(t, again))
			require.Empty(t, a.Findings())
			require.EqualValues(t, 52, *a.Summary().Unseen)
			for _, p := range a.At(len(images)) {
				require.NotZero(t, p.Snapshot)
			}
		})
	}
}

func digest(t *testing.T, a *process.Analyzer) [32]byte {
	var b bytes.Buffer
	for _, v := range []any{a.Processes(), a.Summary(), a.Findings()} {
		require.NoError(t, writeJSON(&b, v))
	}
	return sha256.Sum256(b.Bytes())
}
