package format

import (
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
