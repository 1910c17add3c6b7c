package main

import (
	"bytes"
	"errors"
	"os"
	"runtime/pprof"
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

// profile begins to write a CPU profile, if a file is named.
func profile(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
