package main

import (
	"bytes"
	"errors"
	"fmt"
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

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on all architectures
// that Xen runs on.
const clockTick = time.Second / 100

// usageOf is the same of another process; zeros when there is none.
func usageOf(pid int) (cpu duration, resident int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// The name, in parentheses, may hold anything: fields are counted after it
	// (proc_pid_stat(5): state is the third, utime the 14th, rss the 24th).
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	if pid == 0 || err != nil || end < 0 || len(fields) < 22 {
		return 0, 0
	}
	number := func(field int) int64 {
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64)
		return n
	}
	return duration(time.Duration(number(14)+number(15)) * clockTick), number(24) * int64(os.Getpagesize())
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
