package files

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

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
	for _, hash := range []bool{false, true} {
		b.Run(fmt.Sprintf("hash=%v", hash), func(b *testing.B) {
			for range b.N {
				j := newJournaled(b, 8000, 128<<10, "100G")
				scratch, err := os.CreateTemp(room, "")
				require.NoError(b, err)
				require.NoError(b, os.Remove(scratch.Name()))
				_, stream, mb, events := j.followed(270, 300, 128<<10, Options{Scratch: scratch, Hash: hash})
				require.NoError(b, scratch.Close())
				b.ReportMetric(highWater(b), "MB-resident")
				b.ReportMetric(mb/stream.Seconds(), "trace-MB/s")
				b.ReportMetric(mb, "trace-MB")
				b.ReportMetric(float64(events), "events")
			}
		})
	}
}
