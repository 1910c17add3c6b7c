// Package hypercall speaks to Xen from a dom0 process: hypercalls and foreign
// mappings through /dev/xen/privcmd. It and internal/bpf are the only places of
// capture with unsafe code and ioctls. Port is the narrow raw waist, Xen the typed
// calls on top of it; tests put an imaginary hypervisor under the same Port.
package hypercall

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Port carries raw hypercalls and mappings. Errors are syscall.Errno values as
// the kernel returns them, possibly wrapped. Implementations are safe for
// concurrent use.
type Port interface {
	// Call makes one hypercall and returns its non-negative result.
	Call(op uint64, args ...uint64) (int64, error)
	// Alloc returns zeroed memory of at least n bytes that hypercalls may write:
	// Addr is what to put into a guest handle.
	Alloc(n int) (*Buffer, error)
	// Map maps frames of a domain read-only: gfns, or mfns for a PV guest.
	// The error is about the whole batch; single frames fail in Mapping.
	Map(domain uint16, frames []uint64) (*Mapping, error)
	// MapResource maps frames first … first+n of a resource.
	MapResource(domain uint16, typ, id, first uint32, n int) (*Mapping, error)
	// ResourceFrames is how many frames a resource has.
	ResourceFrames(domain uint16, typ, id uint32) (int, error)
	// Restrict gives up, for good, everything but mapping frames of one domain.
	Restrict(domain uint16) error
	Close() error
}

// Buffer is memory that the hypervisor can reach.
type Buffer struct {
	Bytes []byte
	Addr  uint64
	Free  func() error
}

// Mapping is a run of foreign frames in this process. It holds references to
// the guest's pages: Unmap it soon, or a domain that dies stays as a zombie.
type Mapping struct {
	bytes []byte
	errs  []error // per frame; nil for a mapping without failures
	size  int
	unmap func() error
}

// NewMapping wraps frames that were mapped; errs may be nil.
func NewMapping(bytes []byte, errs []error, frameSize int, unmap func() error) *Mapping {
	return &Mapping{bytes: bytes, errs: errs, size: frameSize, unmap: unmap}
}

// Len is the number of frames.
func (m *Mapping) Len() int { return len(m.bytes) / m.size }

// Err says why frame i is not readable, nil if it is.
func (m *Mapping) Err(i int) error {
	if m.errs == nil {
		return nil
	}
	return m.errs[i]
}

// errFault is what reading a mapped frame gives that went away underneath.
var errFault = errors.New("page fault reading a mapped frame")

// Copy copies frame i. It survives frames that fault: they are an error.
func (m *Mapping) Copy(i int, dst []byte) error {
	return m.Look(i, func(frame []byte) { copy(dst[:m.size], frame) })
}

// Look shows frame i as it is mapped, which the guest may change at any time. It
// survives frames that fault: they are an error. Other goroutines may look too.
func (m *Mapping) Look(i int, visit func(frame []byte)) (err error) {
	if err := m.Err(i); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			fault, ok := r.(interface{ Addr() uintptr })
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("%w at %#x", errFault, fault.Addr())
		}
	}()
	visit(m.bytes[i*m.size : (i+1)*m.size])
	return nil
}

// Unmap ends the mapping.
func (m *Mapping) Unmap() error {
	if m.unmap == nil {
		return nil
	}
	err := m.unmap()
	m.unmap, m.bytes = nil, nil
	return err
}
