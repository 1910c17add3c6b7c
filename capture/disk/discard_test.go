//go:build linux

package disk

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// discard is ioctl BLKDISCARD (linux/fs.h) of {offset, length} in bytes.
func discard(f *os.File, r *[2]uint64) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x1277, uintptr(unsafe.Pointer(r)))
	if e != 0 {
		return e
	}
	return nil
}
