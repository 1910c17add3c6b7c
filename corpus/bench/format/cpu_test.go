package format

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cpuTime is what the process has used of all cores: on a machine that does
// other things at the same time it says more than the clock.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCore runs fn as a benchmark and reports the speed over size bytes, per
// second of CPU as well as of the clock.
func perCore(b *testing.B, size int64, fn func()) {
	b.SetBytes(size)
	start := cpuTime(b)
	n := 0
	for b.Loop() {
		fn()
		n++
	}
	b.ReportMetric(float64(size)*float64(n)/1e6/(cpuTime(b)-start).Seconds(), "MB/cpu-s")
}
