//go:build linux

package hypercall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// The nodes of the driver, and where old kernels had the first.
const (
	privcmdNode    = "/dev/xen/privcmd"
	privcmdOldNode = "/proc/xen/privcmd"
	hypercallNode  = "/dev/xen/hypercall"
)

// pagedRetries bounds how often a frame that is paged out is asked for again.
const pagedRetries = 20

// Privcmd is the Port of this host.
type Privcmd struct {
	mu      sync.RWMutex // held for reading during calls, so that Close waits
	privcmd *os.File
	buffers *os.File // nil when the kernel has no /dev/xen/hypercall
}

// OpenPrivcmd opens the driver's nodes.
func OpenPrivcmd() (*Privcmd, error) {
	f, err := os.OpenFile(privcmdNode, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if old, olderr := os.OpenFile(privcmdOldNode, os.O_RDWR, 0); olderr == nil {
			f, err = old, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w (is this a Xen dom0, and is the module xen-privcmd loaded?)", err)
	}
	b, err := os.OpenFile(hypercallNode, os.O_RDWR, 0)
	if err != nil {
		b = nil // kernels before 4.18: locked anonymous memory serves instead
	}
	return &Privcmd{privcmd: f, buffers: b}, nil
}

// PrivcmdFromFile makes a Port from a descriptor another process opened, and
// perhaps restricted. It has no hypercall buffers of its own.
func PrivcmdFromFile(f *os.File) *Privcmd { return &Privcmd{privcmd: f} }

// Take ends the port, and returns its privcmd descriptor to hand to another process.
func (p *Privcmd) Take() (*os.File, error) {
	p.mu.Lock()
	f := p.privcmd
	p.privcmd = nil
	p.mu.Unlock()
	return f, p.Close()
}

func (p *Privcmd) ioctl(request uintptr, arg unsafe.Pointer) (int64, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.privcmd == nil {
		return 0, os.ErrClosed
	}
	r, _, errno := syscall.Syscall(syscall.SYS_IOCTL, p.privcmd.Fd(), request, uintptr(arg))
	if errno != 0 {
		return 0, errno
	}
	return int64(r), nil
}

// Call makes one hypercall: struct privcmd_hypercall {u64 op; u64 arg[5]}.
func (p *Privcmd) Call(op uint64, args ...uint64) (int64, error) {
	var h [6]uint64
	h[0] = op
	copy(h[1:], args)
	return p.ioctl(xenabi.IoctlHypercall, unsafe.Pointer(&h))
}

// Alloc maps kernel pages from /dev/xen/hypercall: ordinary pages may be moved
// by the kernel during the call, which then fails with EFAULT
// (xen/tools/libs/call/linux.c). Without the node, locked memory has to do.
func (p *Privcmd) Alloc(n int) (*Buffer, error) {
	n = (n + xenabi.PageSize - 1) &^ (xenabi.PageSize - 1)
	fd, flags := -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_LOCKED|unix.MAP_POPULATE
	if p.buffers != nil {
		fd, flags = int(p.buffers.Fd()), unix.MAP_SHARED
	}
	b, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("hypercall buffer of %d bytes: %w", n, err)
	}
	if fd < 0 {
		_ = unix.Madvise(b, unix.MADV_DONTFORK) // a fork would make the pages copy-on-write
	}
	return &Buffer{Bytes: b, Addr: addressOf(b), Free: func() error { return unix.Munmap(b) }}, nil
}

func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// Map maps frames read-only: a writable mapping would mark them dirty and could
// harm the guest. Frames that are paged out are asked for again.
func (p *Privcmd) Map(domain uint16, frames []uint64) (*Mapping, error) {
	if len(frames) == 0 {
		return NewMapping(nil, nil, xenabi.PageSize, nil), nil
	}
	m, err := p.reserve(len(frames))
	if err != nil {
		return nil, err
	}
	codes := make([]int32, len(frames))
	// The first call must cover the whole mapping, else EINVAL.
	err = p.mapBatch(domain, addressOf(m), frames, codes)
	for try := 0; errors.Is(err, unix.ENOENT) && try < pagedRetries; try++ {
		err = p.mapPaged(domain, m, frames, codes)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, errors.Join(fmt.Errorf("map %d frames of domain %d: %w", len(frames), domain, err), unix.Munmap(m))
	}
	return NewMapping(m, frameErrors(codes), xenabi.PageSize, func() error { return unix.Munmap(m) }), nil
}

func (p *Privcmd) reserve(frames int) ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.privcmd == nil {
		return nil, os.ErrClosed
	}
	m, err := unix.Mmap(int(p.privcmd.Fd()), 0, frames*xenabi.PageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("reserve room for %d frames: %w", frames, err)
	}
	return m, nil
}

// mapBatch is one PRIVCMD_MMAPBATCH_V2: {u32 num; u16 dom; u64 addr; u64 *arr; i32 *err}.
func (p *Privcmd) mapBatch(domain uint16, addr uint64, frames []uint64, codes []int32) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&frames[0])
	pin.Pin(&codes[0])
	var a [32]byte
	le := binary.LittleEndian
	le.PutUint32(a[0:], uint32(len(frames)))
	le.PutUint16(a[4:], domain)
	le.PutUint64(a[8:], addr)
	le.PutUint64(a[16:], uint64(uintptr(unsafe.Pointer(&frames[0]))))
	le.PutUint64(a[24:], uint64(uintptr(unsafe.Pointer(&codes[0]))))
	_, err := p.ioctl(xenabi.IoctlMmapBatchV2, unsafe.Pointer(&a))
	return err
}

// mapPaged asks again for each frame whose code is ENOENT: asking made Xen begin
// to page it in.
func (p *Privcmd) mapPaged(domain uint16, m []byte, frames []uint64, codes []int32) error {
	unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	var again error
	for i := range frames {
		if codes[i] != -int32(unix.ENOENT) {
			continue
		}
		at := addressOf(m) + uint64(i)*xenabi.PageSize
		err := p.mapBatch(domain, at, frames[i:i+1], codes[i:i+1])
		if errors.Is(err, unix.ENOENT) {
			again = err
		} else if err != nil {
			return err
		}
	}
	return again
}

func frameErrors(codes []int32) []error {
	var errs []error
	for i, c := range codes {
		if c == 0 {
			continue
		}
		if errs == nil {
			errs = make([]error, len(codes))
		}
		errs[i] = syscall.Errno(-c)
		if c > 0 {
			errs[i] = fmt.Errorf("frame error code %d", c)
		}
	}
	return errs
}

// MapResource maps frames of a resource: {u16 dom; u32 type; u32 id; u32 idx; u64 num; u64 addr}.
func (p *Privcmd) MapResource(domain uint16, typ, id, first uint32, n int) (*Mapping, error) {
	m, err := func() ([]byte, error) {
		p.mu.RLock()
		defer p.mu.RUnlock()
		if p.privcmd == nil {
			return nil, os.ErrClosed
		}
		return unix.Mmap(int(p.privcmd.Fd()), 0, n*xenabi.PageSize, unix.PROT_READ, unix.MAP_SHARED)
	}()
	if err != nil {
		return nil, fmt.Errorf("reserve room for %d resource frames: %w", n, err)
	}
	if _, err := p.resource(domain, typ, id, first, uint64(n), addressOf(m)); err != nil {
		return nil, errors.Join(fmt.Errorf("map resource %d.%d of domain %d: %w", typ, id, domain, err), unix.Munmap(m))
	}
	return NewMapping(m, nil, xenabi.PageSize, func() error { return unix.Munmap(m) }), nil
}

// ResourceFrames asks with num and addr 0, which answers with the size.
func (p *Privcmd) ResourceFrames(domain uint16, typ, id uint32) (int, error) {
	n, err := p.resource(domain, typ, id, 0, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("size of resource %d.%d of domain %d: %w", typ, id, domain, err)
	}
	return int(min(n, 1<<20)), nil
}

func (p *Privcmd) resource(domain uint16, typ, id, first uint32, n, addr uint64) (uint64, error) {
	var a [32]byte
	le := binary.LittleEndian
	le.PutUint16(a[0:], domain)
	le.PutUint32(a[4:], typ)
	le.PutUint32(a[8:], id)
	le.PutUint32(a[12:], first)
	le.PutUint64(a[16:], n)
	le.PutUint64(a[24:], addr)
	_, err := p.ioctl(xenabi.IoctlMapResource, unsafe.Pointer(&a))
	return le.Uint64(a[16:]), err
}

// Restrict is IOCTL_PRIVCMD_RESTRICT: afterwards the descriptor makes no
// hypercall (EPERM) and maps frames of one domain only.
func (p *Privcmd) Restrict(domain uint16) error {
	if _, err := p.ioctl(xenabi.IoctlRestrict, unsafe.Pointer(&domain)); err != nil {
		return fmt.Errorf("restrict privcmd to domain %d: %w", domain, err)
	}
	return nil
}

// Close closes the nodes. Mappings and buffers live on until they are freed.
func (p *Privcmd) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, f := range []**os.File{&p.privcmd, &p.buffers} {
		if *f != nil {
			errs = append(errs, (*f).Close())
			*f = nil
		}
	}
	return errors.Join(errs...)
}
