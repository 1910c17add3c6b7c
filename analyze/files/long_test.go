package files

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
)

// highWater is the most memory the process ever had resident, in MB (proc(5),
// VmHWM).
func highWater(t testing.TB) float64 {
	f, err := os.Open("/proc/self/status")
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			require.NoError(t, err)
			return float64(kb) / 1e3
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// BenchmarkTenGigabytes follows 10 GB of writes to a 100 GB disk that is mostly holes
// (XENTAPE_ROOM names a folder with 10 GB of room) and says what memory that took. The
// writes are made as they are needed.
func BenchmarkTenGigabytes(b *testing.B) {
	room := need.Named(b, "XENTAPE_ROOM", "a folder with room for what is written")
	for range b.N {
		j := newJournaled(b, 20000, 128<<10, "100G")
		scratch, err := os.CreateTemp(room, "")
		require.NoError(b, err)
		require.NoError(b, os.Remove(scratch.Name()))
		for _, hash := range []bool{false, true} {
			_, stream, mb, events := j.followed(270, 300, 128<<10, Options{Scratch: scratch, Hash: hash})
			b.ReportMetric(highWater(b), fmt.Sprintf("MB-resident,hash=%v", hash))
			b.ReportMetric(mb/stream.Seconds(), fmt.Sprintf("trace-MB/s,hash=%v", hash))
			b.Logf("hash %v: %.0f MB of trace in %v, %d events", hash, mb, stream.Round(time.Second), events)
		}
		require.NoError(b, scratch.Close())
	}
}
