//go:build linux

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// device is the block device behind a virtual disk, opened for reading past the
// page cache: requests of a backend do not go through it, so it may be stale.
type device struct {
	f            *os.File
	size         uint64
	major, minor uint32
	start        uint64 // of a partition: its first sector on the disk
	queue        bool   // requests are queued by blk-mq rather than taken as bios
}

func openDevice(path, sysFS string) (*device, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	return deviceOf(f, path, sysFS)
}

// deviceOf takes a device that was opened.
func deviceOf(f *os.File, path, sysFS string) (*device, error) {
	d := &device{f: f}
	if err := d.identify(sysFS); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return d, nil
}

func (d *device) identify(sysFS string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.f.Fd()), &st); err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return errors.New("not a block device")
	}
	d.major, d.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	size, err := d.f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("size: %w", err)
	}
	d.size = uint64(size)
	dir := filepath.Join(sysFS, "dev/block", fmt.Sprintf("%d:%d", d.major, d.minor))
	for _, mq := range []string{"mq", "../mq"} { // a partition's queue is its disk's
		if _, err := os.Stat(filepath.Join(dir, mq)); err == nil {
			d.queue = true
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "start")); err == nil {
		if d.start, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil {
			return fmt.Errorf("start of partition: %w", err)
		}
	}
	return nil
}

func (d *device) close() error { return d.f.Close() }

// read fills b, which must be aligned memory, from off. At the end of a device whose
// size is not a multiple of len(b) it reads what there is.
func (d *device) read(b []byte, off uint64) error {
	want := min(uint64(len(b)), d.size-min(off, d.size))
	for done := uint64(0); done < want; {
		n, err := unix.Pread(int(d.f.Fd()), b[done:want], int64(off+done))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read %d bytes at %d: %w", want-done, off+done, err)
		case n == 0:
			return fmt.Errorf("read %d bytes at %d: %w", want-done, off+done, io.ErrUnexpectedEOF)
		}
		done += uint64(n)
	}
	return nil
}

// alignedBuffer is memory that O_DIRECT accepts: whole pages.
func alignedBuffer(n int) []byte {
	page := os.Getpagesize()
	b := make([]byte, n+page)
	skip := (page - int(uintptr(unsafe.Pointer(&b[0]))&uintptr(page-1))) & (page - 1)
	return b[skip : skip+n : skip+n]
}

// IdleThread makes the calling goroutine's thread read only when nobody else does
// (IOPRIO_CLASS_IDLE, linux/ioprio.h). The thread ends with the goroutine.
func IdleThread() {
	const (
		whoProcess = 1
		classIdle  = 3 << 13
	)
	runtime.LockOSThread()
	// Where the scheduler of the device knows no priorities this has no effect, and
	// the rate limit is all there is.
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle)
}
