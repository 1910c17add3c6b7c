package process_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// loaded is an image held in memory, so that the figures are of the analysis
// and not of reading a file.
type loaded struct {
	replay.Memory
	pages   map[uint64][]byte
	changed []format.Extent
	known   bool
}

func load(b *testing.B, m replay.Memory) *loaded {
	l := &loaded{Memory: m, pages: map[uint64][]byte{}}
	l.changed, l.known = m.Changed()
	for _, x := range m.Extents() {
		for f := x.Start; f-x.Start < x.Count; f++ {
			p := make([]byte, format.PageSize)
			st, err := m.ReadPage(f, p)
			require.NoError(b, err)
			if st == format.PageData {
				l.pages[f] = p
			}
		}
	}
	return l
}

func (l *loaded) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	p, ok := l.pages[n]
	if !ok {
		clear(dst[:format.PageSize])
		return format.PageAbsent, nil
	}
	copy(dst, p)
	return format.PageData, nil
}

func (l *loaded) Changed() ([]format.Extent, bool) { return l.changed, l.known }

// BenchmarkFirst is the whole analysis of one 256 MiB image from nothing.
func BenchmarkFirst(b *testing.B) {
	m := load(b, openImage(b, recording(b, "deb12-6.1.t1.elf"), 1))
	for b.Loop() {
		require.NoError(b, process.New(process.Options{}).Feed(m))
	}
}

// BenchmarkFurther is a further snapshot of the same boot: what 25 seconds of a
// burst of 61 processes changed.
func BenchmarkFurther(b *testing.B) {
	t1 := openImage(b, recording(b, "deb12-6.1.t1.elf"), 1)
	t2 := openImage(b, recording(b, "deb12-6.1.t2.elf"), 2).After(t1)
	m1, m2 := load(b, t1), load(b, t2)
	for b.Loop() {
		b.StopTimer()
		a := process.New(process.Options{})
		require.NoError(b, a.Feed(m1))
		b.StartTimer()
		require.NoError(b, a.Feed(m2))
	}
}
