package main

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what this process has cost: CPU time and resident memory in bytes.
func usage() (cpu duration, resident int64) {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err == nil {
		cpu = duration(time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Round(time.Millisecond))
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if fields := bytes.Fields(statm); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
		resident = pages * int64(os.Getpagesize())
	}
	return cpu, resident
}
