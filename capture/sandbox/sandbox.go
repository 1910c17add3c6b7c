//go:build linux

// Package sandbox takes from this process what it does not need any more: its
// capabilities, the file system but for a few places, and all system calls but those
// that recording takes. What was opened before stays open.
package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rules say what is left.
type Rules struct {
	Read    []string // files, and directories with all below them, that may be read
	Write   []string // directories below which files and sockets may be made and removed
	Create  bool     // files may be opened for writing at all
	Sockets bool     // unix sockets may be made; none of another kind ever
}

// Report says what is in force. A part that is not has its reason.
type Report struct {
	Capabilities error // none is left, and none can be had again
	Landlock     error // files are limited to the rules
	Seccomp      error // system calls are limited
}

// Complete says whether everything is in force.
func (r *Report) Complete() bool {
	return r.Capabilities == nil && r.Landlock == nil && r.Seccomp == nil
}

// String is the report in one line.
func (r *Report) String() string {
	state := func(err error) string {
		if err != nil {
			return fmt.Sprintf("not in force (%v)", err)
		}
		return "in force"
	}
	return fmt.Sprintf("no capabilities: %s; Landlock: %s; seccomp: %s", state(r.Capabilities), state(r.Landlock), state(r.Seccomp))
}

// Enter gives everything up but what the rules leave, for all threads and for good.
// Parts that this kernel does not have are left out, and reported.
func Enter(rules Rules) *Report {
	r := &Report{}
	if err := everyThread(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		err = fmt.Errorf("no_new_privs: %w", err)
		return &Report{err, err, err}
	}
	r.Landlock = landlock(&rules)
	r.Capabilities = dropCapabilities()
	r.Seccomp = filterCalls(&rules)
	return r
}

// everyThread makes a system call in each thread of the process. In a binary with cgo
// that cannot be done.
func everyThread(call, a, b, c uintptr) error {
	_, _, e := syscall.AllThreadsSyscall6(call, a, b, c, 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// dropCapabilities empties all sets, and the bounding set where that is allowed, so that
// no program that is executed gets any.
func dropCapabilities() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		err := everyThread(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
		if errors.Is(err, unix.EINVAL) {
			break // this kernel has fewer
		}
		if errors.Is(err, unix.EPERM) {
			break // without CAP_SETPCAP; no_new_privs keeps what is executed from gaining any
		}
		if err != nil {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err := everyThread(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none)), 0)
	runtime.KeepAlive(&head)
	runtime.KeepAlive(&none)
	if err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}
