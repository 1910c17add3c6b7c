package rebuild

import (
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func effects(rs ...format.Record) iter.Seq2[format.Record, error] {
	return Effects(func(yield func(format.Record, error) bool) {
		for _, r := range rs {
			if r == nil && !yield(nil, errors.New("damage")) || r != nil && !yield(r, nil) {
				return
			}
		}
	})
}

func write(id, off uint64, data string) *format.DiskRequest {
	return &format.DiskRequest{ID: id, Op: format.DiskWrite, Flags: format.DiskApplied, Offset: off, Length: uint64(len(data)), Data: []byte(data)}
}

// TestDiskSaysWhatIsOld: a gap makes the image older where it lies, until the place is
// written or read back; what never completed is not on it.
func TestDiskSaysWhatIsOld(t *testing.T) {
	noBase := "the tape holds no base image: what was never written during the recording reads as zeros"
	old := "2 bytes may be older than this: the tape has a gap there, and they were not read again after it"
	readback := write(0, 2, "ef")
	readback.Flags = format.DiskReadback
	pending := write(7, 0, "zz")
	pending.Flags = 0
	for name, c := range map[string]struct {
		records []format.Record
		image   string
		losses  []string
	}{
		"whole":      {[]format.Record{write(1, 0, "abcdefgh")}, "abcdefgh", []string{noBase}},
		"in flight":  {[]format.Record{write(1, 0, "abcdefgh"), pending}, "abcdefgh", []string{noBase}},
		"failed":     {[]format.Record{write(1, 0, "abcdefgh"), pending, &format.DiskCompletion{ID: 7, Status: 5}}, "abcdefgh", []string{noBase}},
		"completed":  {[]format.Record{write(1, 0, "abcdefgh"), pending, &format.DiskCompletion{ID: 7}}, "zzcdefgh", []string{noBase}},
		"gap":        {[]format.Record{write(1, 0, "abcdefgh"), &format.Gap{Count: 1, Extents: []format.Extent{{Start: 2, Count: 2}}}}, "abcdefgh", []string{noBase, old}},
		"gap of all": {[]format.Record{&format.Gap{Count: format.Unknown}, write(1, 0, "abcdef")}, "abcdef\x00\x00", []string{noBase, old}},
		"read back":  {[]format.Record{write(1, 0, "abcdefgh"), &format.Gap{Count: 1, Extents: []format.Extent{{Start: 1, Count: 4}}}, readback}, "abefefgh", []string{noBase, old}},
		"damage":     {[]format.Record{nil, write(1, 0, "abcdefgh")}, "abcdefgh", []string{noBase, "the tape is damaged in 1 places: writes may be missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			f, err := os.Create(path)
			require.NoError(t, err)
			defer f.Close()
			w := newDiskWriter(f)
			require.NoError(t, w.begin(8, nil))
			require.NoError(t, w.apply(effects(c.records...)))
			losses, err := w.end()
			require.NoError(t, err)
			require.Equal(t, c.losses, losses)
			b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
			require.NoError(t, err)
			require.Equal(t, c.image, string(b))
		})
	}
}

// TestStale compares the runs with a map of bytes.
func TestStale(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const size = 64
	s := NewStale()
	var want [size]bool
	for range 5000 {
		e := format.Extent{Start: rng.Uint64N(size), Count: rng.Uint64N(12)}
		gap := rng.IntN(2) == 0
		for at := e.Start; at < min(e.Start+e.Count, size); at++ {
			want[at] = gap
		}
		if gap {
			s.Gap(&format.Gap{Count: 1, Extents: []format.Extent{e}}, size)
		} else {
			s.Known(e.Start, e.Count)
		}
		var got [size]bool
		last := uint64(0)
		for _, e := range s.ranges[0] {
			require.NotZero(t, e.Count)
			require.GreaterOrEqual(t, e.Start, last, "apart and in order")
			for at := e.Start; at < e.Start+e.Count; at++ {
				got[at] = true
			}
			last = e.Start + e.Count
		}
		require.Equal(t, want, got)
	}
}
