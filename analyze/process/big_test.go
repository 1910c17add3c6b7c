package process_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// large pads a machine to more memory: every frame the recording does not have
// holds data that means nothing.
type large struct {
	replay.Memory
	frames uint64
	fill   [format.PageSize]byte
}

func (l *large) Extents() []format.Extent { return []format.Extent{{Start: 0, Count: l.frames}} }

func (l *large) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	st, err := l.Memory.ReadPage(n, dst)
	if st == format.PageAbsent && n < l.frames {
		copy(dst, l.fill[:])
		return format.PageData, nil
	}
	return st, err
}

// BenchmarkLargeGuest is the first snapshot of a 4 GiB guest; heap-MB is what
// the heap grew to for it, the guest's own bytes aside.
func BenchmarkLargeGuest(b *testing.B) {
	images, _ := fixture(b, "deb12-6.1")
	m := &large{Memory: images[0], frames: 4 << 30 / format.PageSize}
	copy(m.fill[:], noise(9, format.PageSize))
	held := func() uint64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapSys - s.HeapReleased
	}
	debug.FreeOSMemory() // of what other benchmarks held
	before, most := held(), uint64(0)
	for b.Loop() {
		a := process.New(process.Options{})
		require.NoError(b, a.Feed(m))
		most = max(most, held())
		runtime.KeepAlive(a)
	}
	b.ReportMetric(float64(most-min(before, most))/(1<<20), "heap-MB")
}

// The analysis of a guest of 4 GiB keeps to a fraction of that.
func TestLargeGuest(t *testing.T) {
	images, truths := fixture(t, "deb12-6.1")
	size := uint64(1 << 30)
	if os.Getenv("XENTAPE_DATA") != "" {
		size = 4 << 30
	}
	m := &large{Memory: images[0], frames: size / format.PageSize}
	copy(m.fill[:], noise(9, format.PageSize))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(m))
	runtime.ReadMemStats(&after)
	require.Len(t, a.At(1), len(truths[0].Processes))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(150<<20), "bytes allocated in all")
	runtime.KeepAlive(a)
}
