package hypercall

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// burst is how many calls are made at once where the Port can: each asks for
// xenabi.MaxPageFrameInfo frames at most, and a guest has a thousand times as many.
const burst = 16

// burster is a Port that makes several calls for one round trip.
type burster interface {
	// CallEach makes a call with each argument, one after the other. The error is of
	// the first that failed; the others were made.
	CallEach(op uint64, args []uint64) error
}

// domctlBuffers are what one domctl takes.
type domctlBuffers struct {
	ctl *Buffer // one struct xen_domctl
	arg *Buffer // what its handles point to
}

func (x *Xen) newDomctlBuffers() (b domctlBuffers, err error) {
	if b.ctl, err = x.port.Alloc(xenabi.DomctlSize); err != nil {
		return b, err
	}
	if b.arg, err = x.port.Alloc(argSize); err != nil {
		err = errors.Join(err, b.ctl.Free())
	}
	return b, err
}

// PageTypeRange asks for the types of n frames from the first on.
func (x *Xen) PageTypeRange(domain uint16, first, n uint64) ([]uint8, error) {
	x.bursting.Lock()
	defer x.bursting.Unlock()
	types := make([]uint8, 0, n)
	for end := first + n; first < end; {
		part := min(end-first, burst*xenabi.MaxPageFrameInfo)
		var err error
		if types, err = x.pageTypes(types, domain, first, part); err != nil {
			return nil, fmt.Errorf("getpageframeinfo3 of domain %d, frames from %#x: %w", domain, first, err)
		}
		first += part
	}
	return types, nil
}

// pageTypes is one burst: the types are appended.
func (x *Xen) pageTypes(types []uint8, domain uint16, first, n uint64) ([]uint8, error) {
	var args []uint64
	for at := uint64(0); at < n; at += xenabi.MaxPageFrameInfo {
		if len(args) == len(x.bursts) {
			b, err := x.newDomctlBuffers()
			if err != nil {
				return nil, err
			}
			x.bursts = append(x.bursts, b)
		}
		b := x.bursts[len(args)]
		d := xenabi.Domctl(b.ctl.Bytes)
		d.Begin(xenabi.DomctlGetPageFrameInfo3, x.domctl, domain)
		b.arg.askTypes(d, min(n-at, xenabi.MaxPageFrameInfo), func(i uint64) uint64 { return first + at + i })
		args = append(args, b.ctl.Addr)
	}
	if err := x.callEach(xenabi.HypercallDomctl, args); err != nil {
		return nil, err
	}
	for i := range args {
		at := uint64(i) * xenabi.MaxPageFrameInfo
		types = x.bursts[i].arg.types(types, min(n-at, xenabi.MaxPageFrameInfo))
	}
	return types, nil
}

// askTypes puts frames into the buffer and has a getpageframeinfo3 point there. More
// frames than Xen takes are not written, and are E2BIG.
func (b *Buffer) askTypes(d xenabi.Domctl, n uint64, frame func(i uint64) uint64) {
	for i := range min(n, xenabi.MaxPageFrameInfo) {
		binary.LittleEndian.PutUint64(b.Bytes[8*i:], frame(i))
	}
	d.Put64(xenabi.PageFrameNum, n)
	d.Put64(xenabi.PageFrameArray, b.Addr)
}

// types appends what Xen answered about n frames.
func (b *Buffer) types(types []uint8, n uint64) []uint8 {
	for i := range n {
		types = append(types, xenabi.PageTypeOf(binary.LittleEndian.Uint64(b.Bytes[8*i:])))
	}
	return types
}

func (x *Xen) callEach(op uint64, args []uint64) error {
	if p, ok := x.port.(burster); ok {
		return p.CallEach(op, args)
	}
	for _, a := range args {
		if _, err := x.port.Call(op, a); err != nil {
			return err
		}
	}
	return nil
}
