//go:build linux

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfMapLookup is BPF_MAP_LOOKUP_ELEM (linux/bpf.h).
const bpfMapLookup = 1

// MapsShown says whether the kernel lets a process without capabilities look into a BPF
// map whose descriptor it was given; nil if so. Older kernels refuse such a process
// every bpf(2) while kernel.unprivileged_bpf_disabled is set, newer ones only what makes
// programs and maps (kernel/bpf/syscall.c). The kernel is asked rather than its version,
// because distributions carry changes back.
func MapsShown() error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it lost
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&h, &none[0]); err != nil {
			done <- fmt.Errorf("give up capabilities to ask: %w", err)
			return
		}
		// BPF_MAP_LOOKUP_ELEM {u32 map_fd; u64 key@8; u64 value@16; u64 flags@24} of no map.
		var attr [32]byte
		binary.NativeEndian.PutUint32(attr[:], ^uint32(0))
		_, _, e := unix.Syscall(unix.SYS_BPF, bpfMapLookup, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errors.Is(e, unix.EBADF) {
			done <- nil
			return
		}
		done <- fmt.Errorf("a process without capabilities may not look into BPF maps: %w", e)
	}()
	return <-done
}
