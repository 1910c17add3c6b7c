package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/sandbox"
)

// Files in which the kernel says what it has.
const (
	lockdownFile   = "/sys/kernel/security/lockdown"
	seccompActions = "/proc/sys/kernel/seccomp/actions_avail"
)

// kernel says what the kernel of this host has for recording.
func (e *examination) kernel() {
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		e.add("host", "kernel", yes, "%s", unix.ByteSliceToString(u.Release[:]))
	}
	if os.Geteuid() == 0 {
		e.add("host", "privilege", yes, "root")
	} else {
		e.add("host", "privilege", no, "user %d: recording needs root", os.Geteuid())
	}
	for _, node := range []string{"/dev/xen/privcmd", "/dev/xen/hypercall"} {
		_, err := os.Stat(node)
		if err != nil {
			err = fmt.Errorf("%w: is this dom0, and is the module xen-privcmd loaded?", err)
		}
		e.check("host", node, err, "there")
	}
	if err := disk.Payload(); err != nil {
		e.add("host", "disk requests", no, "their content is not to be had: %v", err)
	} else {
		e.add("host", "disk requests", yes, "the kernel takes the programs that see them, with their content")
	}
	e.confinement()
	mode, err := lockdown()
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.add("host", "lockdown", yes, "not in this kernel, or securityfs is not mounted: what it would forbid was tried above")
	case err != nil:
		e.add("host", "lockdown", unknown, "%v", err)
	case mode == "confidentiality":
		e.add("host", "lockdown", no, "%s: BPF may not read kernel memory, so payload of disk requests is not to be had", mode)
	default:
		e.add("host", "lockdown", yes, "%s", mode)
	}
}

// confinement says what of its privileges a recorder can give up here.
func (e *examination) confinement() {
	switch v, err := sandbox.LandlockVersion(); {
	case err != nil:
		e.add("host", "Landlock", partly, "%v: the recorder could read and remove files of this host", err)
	case v < 2:
		e.add("host", "Landlock", partly, "version %d, and 2 is needed: the recorder could read and remove files of this host", v)
	default:
		e.add("host", "Landlock", yes, "version %d: the recorder sees of the file system what it needs", v)
	}
	if err := sandbox.MapsShown(); err != nil {
		e.add("host", "BPF maps", partly, "%v: recording disks needs --no-sandbox, or kernel.unprivileged_bpf_disabled = 0", err)
	} else {
		e.add("host", "BPF maps", yes, "the recorder sees its own program's maps without privilege")
	}
	if _, err := os.Stat(seccompActions); err != nil {
		e.add("host", "seccomp", partly, "%v: the recorder's system calls cannot be limited", err)
		return
	}
	e.add("host", "seccomp", yes, "the recorder's system calls are limited")
}

// lockdown is the mode in brackets.
func lockdown() (string, error) {
	b, err := os.ReadFile(lockdownFile)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(b), "[")
	mode, _, ok := strings.Cut(rest, "]")
	if !ok {
		return "", fmt.Errorf("%s holds %q", lockdownFile, b)
	}
	return mode, nil
}

// lockedDown says whether the kernel keeps the files of debugfs from root.
func lockedDown() bool {
	mode, err := lockdown()
	return err == nil && mode != "none"
}

func interfaceExists(name string) error {
	_, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
