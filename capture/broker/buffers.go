//go:build linux

package broker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/hypercall"
)

// maxBuffer and maxBuffers bound what a recorder can make the broker allocate: the
// largest is a dirty bitmap, one bit a page, of 16 TiB at most.
const (
	maxBuffer  = 512 << 20
	maxBuffers = 256
)

// buffer is memory for hypercalls. The recorder writes and reads the shared part; the
// hypervisor sees only the broker's own, into which and from which calls copy: what
// was checked is what is used.
type buffer struct {
	shared []byte
	own    *hypercall.Buffer
}

func (b *buffer) in()  { copy(b.own.Bytes, b.shared) }
func (b *buffer) out() { copy(b.shared, b.own.Bytes[:len(b.shared)]) }

// buffers are those of one recorder, by the address that stands for them.
type buffers struct {
	port hypercall.Port
	mu   sync.Mutex
	all  map[uint64]*buffer
}

// add makes a buffer and returns the descriptor of its shared part, which is sealed:
// a recorder that cut it short would make the broker fault.
func (bs *buffers) add(n int) (addr uint64, shared *os.File, err error) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if n <= 0 || n > maxBuffer || len(bs.all) >= maxBuffers {
		return 0, nil, fmt.Errorf("buffer of %d bytes, beside %d: %w", n, len(bs.all), syscall.EINVAL)
	}
	fd, err := unix.MemfdCreate("xentape-hypercall", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return 0, nil, fmt.Errorf("shared memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "hypercall buffer")
	b := &buffer{}
	if err := b.open(fd, n, bs.port); err != nil {
		return 0, nil, errors.Join(err, b.close(), f.Close())
	}
	bs.all[b.own.Addr] = b
	return b.own.Addr, f, nil
}

func (b *buffer) open(fd, n int, port hypercall.Port) error {
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal shared memory: %w", err)
	}
	var err error
	if b.shared, err = unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map shared memory: %w", err)
	}
	b.own, err = port.Alloc(n)
	return err
}

func (b *buffer) close() error {
	var errs []error
	if b.shared != nil {
		errs = append(errs, unix.Munmap(b.shared))
	}
	if b.own != nil && b.own.Free != nil {
		errs = append(errs, b.own.Free())
	}
	return errors.Join(errs...)
}

func (bs *buffers) at(addr uint64) *buffer {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return bs.all[addr]
}

func (bs *buffers) remove(addr uint64) error {
	bs.mu.Lock()
	b := bs.all[addr]
	delete(bs.all, addr)
	bs.mu.Unlock()
	if b == nil {
		return syscall.EINVAL
	}
	return b.close()
}
