//go:build linux

package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/internal/hypercall"
)

// freeBuffer is the call, no hypercall, that gives a buffer back.
const freeBuffer = ^uint64(0)

// Port is a hypercall.Port whose calls the broker makes. Frames are mapped here,
// through a descriptor for each guest that can do nothing else.
type Port struct {
	c      *Client
	frames func(*os.File) hypercall.Port

	call sync.Mutex // one at a time

	mu      sync.Mutex
	readers map[uint16]hypercall.Port
}

// Port makes hypercalls and maps frames. frames makes a port of a descriptor that the
// broker restricted; nil stands for hypercall.PrivcmdFromFile.
func (c *Client) Port(frames func(*os.File) hypercall.Port) *Port {
	if frames == nil {
		frames = func(f *os.File) hypercall.Port { return hypercall.PrivcmdFromFile(f) }
	}
	return &Port{c: c, frames: frames, readers: map[uint16]hypercall.Port{}}
}

// Hypercalls is Port on this host's privcmd.
func (c *Client) Hypercalls() hypercall.Port { return c.Port(nil) }

// Call is part of hypercall.Port.
func (p *Port) Call(op uint64, args ...uint64) (int64, error) {
	if len(args) > maxArgs {
		return 0, syscall.EINVAL
	}
	p.call.Lock()
	defer p.call.Unlock()
	if _, err := p.c.conns.Calls.Write(appendCall(nil, op, args...)); err != nil {
		return 0, fmt.Errorf("%w: %w", errGone, err)
	}
	return p.answer()
}

// CallEach makes a call with each argument, for one round trip to the broker. The
// error is of the first that failed.
func (p *Port) CallEach(op uint64, args []uint64) error {
	var q []byte
	for _, a := range args {
		q = appendCall(q, op, a)
	}
	p.call.Lock()
	defer p.call.Unlock()
	if _, err := p.c.conns.Calls.Write(q); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	var failed error
	for range args {
		if _, err := p.answer(); errors.Is(err, errGone) {
			return err
		} else if failed == nil {
			failed = err
		}
	}
	return failed
}

func appendCall(q []byte, op uint64, args ...uint64) []byte {
	var words [callSize / 8]uint64
	words[0], words[1] = op, uint64(len(args))
	copy(words[2:], args)
	for _, w := range words {
		q = binary.LittleEndian.AppendUint64(q, w)
	}
	return q
}

// answer reads the answer to the first call that has none yet.
func (p *Port) answer() (int64, error) {
	var a [answerSize]byte
	if _, err := io.ReadFull(p.c.conns.Calls, a[:]); err != nil {
		return 0, fmt.Errorf("%w: %w", errGone, err)
	}
	if errno := binary.LittleEndian.Uint64(a[8:]); errno != 0 {
		return 0, syscall.Errno(errno)
	}
	return int64(binary.LittleEndian.Uint64(a[:])), nil
}

// Alloc is part of hypercall.Port: memory shared with the broker.
func (p *Port) Alloc(n int) (*hypercall.Buffer, error) {
	r, files, err := p.c.request(request{Verb: verbBuffer, Bytes: n}, 1)
	if err != nil {
		return nil, fmt.Errorf("hypercall buffer of %d bytes: %w", n, err)
	}
	b, err := unix.Mmap(int(files[0].Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if cerr := files[0].Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("map hypercall buffer: %w", err)
	}
	free := func() error {
		_, err := p.Call(freeBuffer, r.Addr)
		return errors.Join(err, unix.Munmap(b))
	}
	return &hypercall.Buffer{Bytes: b, Addr: r.Addr, Free: free}, nil
}

// reader is the descriptor for the frames of a domain.
func (p *Port) reader(domain uint16) (hypercall.Port, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.readers[domain]; r != nil {
		return r, nil
	}
	f, err := p.c.file(request{Verb: verbFrames, Domain: domain})
	if err != nil {
		return nil, fmt.Errorf("frames of domain %d: %w", domain, err)
	}
	r := p.frames(f)
	p.readers[domain] = r
	return r, nil
}

// Map is part of hypercall.Port.
func (p *Port) Map(domain uint16, frames []uint64) (*hypercall.Mapping, error) {
	r, err := p.reader(domain)
	if err != nil {
		return nil, err
	}
	return r.Map(domain, frames)
}

// MapResource is part of hypercall.Port.
func (p *Port) MapResource(domain uint16, typ, id, first uint32, n int) (*hypercall.Mapping, error) {
	r, err := p.reader(domain)
	if err != nil {
		return nil, err
	}
	return r.MapResource(domain, typ, id, first, n)
}

// ResourceFrames is part of hypercall.Port.
func (p *Port) ResourceFrames(domain uint16, typ, id uint32) (int, error) {
	r, err := p.reader(domain)
	if err != nil {
		return 0, err
	}
	return r.ResourceFrames(domain, typ, id)
}

// Forget closes what was opened for a domain that is gone.
func (p *Port) Forget(domain uint16) error {
	p.mu.Lock()
	r := p.readers[domain]
	delete(p.readers, domain)
	p.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.Close()
}

// Restrict is part of hypercall.Port; the broker has restricted everything already.
func (p *Port) Restrict(uint16) error { return nil }

// Close is part of hypercall.Port. The connections are the client's.
func (p *Port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, r := range p.readers {
		errs = append(errs, r.Close())
	}
	clear(p.readers)
	return errors.Join(errs...)
}
