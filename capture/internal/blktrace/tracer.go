//go:build linux

package blktrace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tracer's ioctls, linux/fs.h.
const (
	ioctlSetup    = 0xc0481273
	ioctlStart    = 0x1274
	ioctlStop     = 0x1275
	ioctlTeardown = 0x1276
)

// setup is struct blk_user_trace_setup.
type setup struct {
	name         [32]byte
	mask         uint16
	_            uint16
	size, number uint32
	_            uint32
	start, end   uint64
	pid          uint32
	_            uint32
}

// Sub-buffers of the tracer, for each CPU.
const (
	bufferSize   = 256 << 10
	bufferNumber = 8
)

// Tracer is the kernel side: one tracer a device, which is why it may be taken.
type Tracer struct {
	dev   *os.File
	dir   string
	files []*os.File // of each CPU
}

// Control is what of a tracer takes privilege.
type Control interface {
	Dropped() (uint64, error) // records that found the tracer's buffers full
	Stop() error              // what was traced can still be read
	Close() error             // frees the device for another tracer
}

// reader takes records from the files of a tracer.
type reader struct {
	files []*os.File // of each CPU
	rest  [][]byte   // of each file: the start of a record
}

// Start starts tracing a device. It fails where another tracer is at work.
func Start(device, debugFS string) (*Tracer, error) {
	dev, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	t := &Tracer{dev: dev}
	s := setup{mask: 0xffff, size: bufferSize, number: bufferNumber}
	if err := t.ioctl(ioctlSetup, unsafe.Pointer(&s)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: set block trace up: %w", device, err), dev.Close())
	}
	name, _, _ := bytes.Cut(s.name[:], []byte{0})
	t.dir = filepath.Join(debugFS, "block", string(name))
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if err := t.ioctl(ioctlStart, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: start block trace: %w", device, err), t.Close())
	}
	return t, nil
}

func (t *Tracer) open() error {
	for cpu := 0; ; cpu++ {
		f, err := os.OpenFile(filepath.Join(t.dir, "trace"+strconv.Itoa(cpu)), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if errors.Is(err, os.ErrNotExist) && cpu > 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("block trace (is debugfs mounted?): %w", err)
		}
		t.files = append(t.files, f)
	}
}

// Files are those the records are read from, by CPU.
func (t *Tracer) Files() []*os.File { return t.files }

func (t *Tracer) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, t.dev.Fd(), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// read takes what the tracer has so far from every CPU.
func (t *reader) read(visit func(record)) error {
	buf := make([]byte, bufferSize)
	for i, f := range t.files {
		for {
			n, err := unix.Read(int(f.Fd()), buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 {
				if err != nil && !errors.Is(err, unix.EAGAIN) {
					return fmt.Errorf("%s: %w", f.Name(), err)
				}
				break
			}
			b := append(t.rest[i], buf[:n]...)
			for {
				var r record
				k, err := r.parse(b)
				if err != nil {
					return fmt.Errorf("%s: %w", f.Name(), err)
				}
				if k == 0 {
					break
				}
				b = b[k:]
				visit(r)
			}
			t.rest[i] = bytes.Clone(b)
		}
	}
	return nil
}

// Dropped is how many records found the tracer's buffers full.
func (t *Tracer) Dropped() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(t.dir, "dropped"))
	if err != nil {
		return 0, fmt.Errorf("block trace: %w", err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// Stop stops the tracing.
func (t *Tracer) Stop() error {
	if err := t.ioctl(ioctlStop, nil); err != nil {
		return fmt.Errorf("stop block trace: %w", err)
	}
	return nil
}

// Close ends the trace.
func (t *Tracer) Close() error {
	var errs []error
	for _, f := range t.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, t.ioctl(ioctlTeardown, nil), t.dev.Close())...)
}
