package files

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestMutants damages a base and a log a hundred times each way: nothing may
// panic, hang, or take the disk for another size, and both views must still be
// walkable to the end.
func TestMutants(t *testing.T) {
	for _, name := range []string{"ext4", "nojournal", "fc", "usnjrnl"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			base, err := os.ReadFile(filepath.Join(dir, "base.img"))
			require.NoError(t, err)
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			require.NoError(t, err)
			rounds := uint64(34)
			if testing.Short() {
				rounds = 5
			}
			for seed := range rounds {
				mutant(t, seed, base, log)
			}
		})
	}
}

func mutant(t *testing.T, seed uint64, base, log []byte) {
	r := rand.New(rand.NewPCG(seed, 99))
	b := bytes.Clone(base)
	used := nonzero(b)
	for range r.IntN(40) + 1 {
		b[used[r.IntN(len(used))]] ^= byte(1 << r.IntN(8))
	}
	a, err := New(uint64(len(b)), &fileImage{bytes.NewReader(b), int64(len(b))}, Options{Disk: "m", Hash: true})
	require.NoError(t, err)
	start := time.Now()
	eachEntry(t, bytes.NewReader(log), func(rec format.Record) {
		if q, ok := rec.(*format.DiskRequest); ok {
			switch {
			case r.IntN(60) == 0:
				return // lost without a trace
			case r.IntN(40) == 0 && len(q.Data) > 0:
				for range r.IntN(8) + 1 {
					q.Data[r.IntN(len(q.Data))] ^= byte(r.Uint32())
				}
			case r.IntN(80) == 0:
				q.Flags |= format.DiskNoData
			}
		}
		require.NoError(t, a.Feed(rec))
	})
	require.NoError(t, a.Finish())
	for _, tree := range []*Tree{a.State(), a.Crash()} {
		for _, v := range tree.Volumes() {
			require.NoError(t, tree.Walk(v, func(f File) error {
				_, _ = tree.Open(f)
				return nil
			}))
		}
	}
	a.SelfCheck()
	require.Less(t, time.Since(start), time.Minute, "seed %d", seed)
}

// nonzero lists where the image says something.
func nonzero(b []byte) []int {
	var out []int
	for i, c := range b {
		if c != 0 {
			out = append(out, i)
		}
	}
	return out
}

// TestTapeWithoutBase: the filesystem becomes known as it is written.
func TestTapeWithoutBase(t *testing.T) {
	dir := unpack(t, "ext4")
	st, err := os.Stat(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	log, err := os.Open(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	a, err := New(uint64(st.Size()), nil, Options{Disk: "xvda", Hash: true})
	require.NoError(t, err)
	eachEntry(t, log, func(r format.Record) { require.NoError(t, a.Feed(r)) })
	require.NoError(t, a.Finish())
	require.NotEmpty(t, a.Problems(), "what was never captured is said")
	require.False(t, a.Complete())
	for _, e := range a.Events() {
		require.NotEqual(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", e.SHA256New, "unknown content is not empty content: %s", e.Path)
	}
}

// TestGrowingTapeGivesTheSameEvents: asking in between changes nothing.
func TestGrowingTapeGivesTheSameEvents(t *testing.T) {
	dir := unpack(t, "ext4")
	a, log := openTrace(t, dir, Options{Hash: true})
	var asked []Event
	n := 0
	eachEntry(t, log, func(r format.Record) {
		require.NoError(t, a.Feed(r))
		if n++; n%7 == 0 {
			asked = append(asked, a.Events()...)
			a.State()
			a.Crash()
			a.Findings()
		}
	})
	require.NoError(t, a.Finish())
	asked = append(asked, a.Events()...)
	b, log := openTrace(t, dir, Options{Hash: true})
	eachEntry(t, log, func(r format.Record) { require.NoError(t, b.Feed(r)) })
	require.NoError(t, b.Finish())
	whole := b.Events()
	require.Equal(t, len(whole), len(asked))
	for i := range whole {
		whole[i].vol, asked[i].vol = nil, nil
	}
	require.Equal(t, whole, asked)
	require.Equal(t, b.Findings(), a.Findings())
}
