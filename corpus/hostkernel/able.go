//go:build linux

// Package hostkernel is what tests of the recorder take from the kernel they run on:
// a block device of their own, and whether they should be able to watch it.
package hostkernel

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// has says whether this process has some capabilities (linux/capability.h).
func has(caps ...uint) bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var held [2]unix.CapUserData // of 32 capabilities each
	if unix.Capget(&head, &held[0]) != nil {
		return false
	}
	for _, c := range caps {
		if held[c/32].Effective>>(c%32)&1 == 0 {
			return false
		}
	}
	return true
}

// lockdown is what the kernel keeps from root (kernel_lockdown(7)): "none", "integrity"
// or "confidentiality".
func lockdown(t testing.TB) string {
	dir := t.TempDir()
	if unix.Mount("securityfs", dir, "securityfs", 0, "") != nil {
		return "none"
	}
	text, _ := os.ReadFile(filepath.Join(dir, "lockdown")) // a kernel without it has none
	require.NoError(t, unix.Unmount(dir, 0))
	_, text, _ = bytes.Cut(text, []byte("["))
	level, _, found := bytes.Cut(text, []byte("]"))
	if !found {
		return "none"
	}
	return string(level)
}

// ShowsBlocks says whether BPF can look at the block layer: with its capabilities, on a
// kernel that has its own types and lets them be read.
func ShowsBlocks(t testing.TB) bool {
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	return err == nil && has(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN) && lockdown(t) != "confidentiality"
}

// ShowsTrace says whether the block tracer can be had: no lockdown closes debugfs.
func ShowsTrace(t testing.TB) bool { return has(unix.CAP_SYS_ADMIN) && lockdown(t) == "none" }
