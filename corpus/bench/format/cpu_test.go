package format

import (
	"runtime/metrics"
	"syscall"
	"time"
)

// cpuTime is what the process has used of all cores: on a machine that does
// other things at the same time it says more than the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no error to return for oneself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// idleTime is the time that Go has not used of its cores, in seconds, up to the last
// collection of garbage.
func idleTime() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
}
