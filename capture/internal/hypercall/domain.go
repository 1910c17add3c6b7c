package hypercall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// DomainInfo asks about one domain. Releases before 4.19 answer a question about
// a missing domain with the next one there is: that is ErrNoDomain too.
func (x *Xen) DomainInfo(domain uint16) (xenabi.DomainInfo, error) {
	var info xenabi.DomainInfo
	err := x.call(xenabi.DomctlGetDomainInfo, domain, nil, func(d xenabi.Domctl) {
		info = xenabi.ParseDomainInfo(d.Union())
	})
	if errors.Is(err, syscall.ESRCH) || err == nil && info.Domain != domain {
		return xenabi.DomainInfo{}, fmt.Errorf("domain %d: %w", domain, ErrNoDomain)
	}
	if err != nil {
		return xenabi.DomainInfo{}, fmt.Errorf("getdomaininfo of domain %d: %w", domain, err)
	}
	return info, nil
}

// Pause raises the domain's pause count. It is not tied to this process: only an
// equal number of Unpause calls lets the guest run again.
func (x *Xen) Pause(domain uint16) error {
	if err := x.call(xenabi.DomctlPause, domain, nil, nil); err != nil {
		return fmt.Errorf("pause domain %d: %w", domain, err)
	}
	return nil
}

// Unpause lowers the domain's pause count.
func (x *Xen) Unpause(domain uint16) error {
	if err := x.call(xenabi.DomctlUnpause, domain, nil, nil); err != nil {
		return fmt.Errorf("unpause domain %d: %w", domain, err)
	}
	return nil
}

// MaximumGPFN is the highest guest frame number in use.
func (x *Xen) MaximumGPFN(domain uint16) (uint64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	binary.LittleEndian.PutUint16(x.arg.Bytes, domain)
	n, err := x.port.Call(xenabi.HypercallMemoryOp, xenabi.MemoryMaximumGPFN, x.arg.Addr)
	if err != nil {
		return 0, fmt.Errorf("maximum_gpfn of domain %d: %w", domain, err)
	}
	return uint64(n), nil
}

// PoDTarget asks for the state of populate-on-demand. A PV guest, which has
// none, is EINVAL: known is false.
func (x *Xen) PoDTarget(domain uint16) (t xenabi.PoDTarget, known bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	xenabi.PutPoDQuery(x.arg.Bytes, domain)
	_, err = x.port.Call(xenabi.HypercallMemoryOp, xenabi.MemoryGetPoDTarget, x.arg.Addr)
	if errors.Is(err, syscall.EINVAL) {
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("get_pod_target of domain %d: %w", domain, err)
	}
	return xenabi.ParsePoDTarget(x.arg.Bytes), true, nil
}

// PageTypes asks for the types of up to xenabi.MaxPageFrameInfo frames.
func (x *Xen) PageTypes(domain uint16, frames []uint64) ([]uint8, error) {
	var types []uint8
	n := uint64(len(frames))
	err := x.call(xenabi.DomctlGetPageFrameInfo3, domain,
		func(d xenabi.Domctl) { x.arg.askTypes(d, n, func(i uint64) uint64 { return frames[i] }) },
		func(xenabi.Domctl) { types = x.arg.types(nil, n) })
	if err != nil {
		return nil, fmt.Errorf("getpageframeinfo3 of domain %d: %w", domain, err)
	}
	return types, nil
}

// VCPUContext is the raw vcpu_guest_context_t of one vCPU. A vCPU that was never
// brought up is EINVAL.
func (x *Xen) VCPUContext(domain uint16, vcpu uint32) ([]byte, error) {
	var context []byte
	err := x.call(xenabi.DomctlGetVCPUContext, domain, func(d xenabi.Domctl) {
		clear(x.arg.Bytes[:xenabi.VCPUContextSize])
		d.Put32(xenabi.VCPUContextVCPU, vcpu)
		d.Put64(xenabi.VCPUContextPtr, x.arg.Addr)
	}, func(xenabi.Domctl) {
		context = bytes.Clone(x.arg.Bytes[:xenabi.VCPUContextSize])
	})
	if err != nil {
		return nil, fmt.Errorf("getvcpucontext of domain %d vcpu %d: %w", domain, vcpu, err)
	}
	return context, nil
}

// maxHVMContext bounds the answer to a size query.
const maxHVMContext = 16 << 20

// HVMContext is the raw save image of an HVM or PVH guest's devices and vCPUs:
// records {u16 type, u16 instance, u32 length} and data.
func (x *Xen) HVMContext(domain uint16) ([]byte, error) {
	var size uint32
	err := x.call(xenabi.DomctlGetHVMContext, domain, nil, func(d xenabi.Domctl) { size = d.Get32(xenabi.HVMContextSize) })
	if err != nil {
		return nil, fmt.Errorf("size of the hvm context of domain %d: %w", domain, err)
	}
	if size == 0 || size > maxHVMContext {
		return nil, fmt.Errorf("hvm context of domain %d: size %d is out of range", domain, size)
	}
	buf, err := x.port.Alloc(int(size))
	if err != nil {
		return nil, err
	}
	defer buf.Free()
	err = x.call(xenabi.DomctlGetHVMContext, domain, func(d xenabi.Domctl) {
		d.Put32(xenabi.HVMContextSize, size)
		d.Put64(xenabi.HVMContextPtr, buf.Addr)
	}, func(d xenabi.Domctl) { size = min(size, d.Get32(xenabi.HVMContextSize)) })
	if err != nil {
		return nil, fmt.Errorf("hvm context of domain %d: %w", domain, err)
	}
	return bytes.Clone(buf.Bytes[:size]), nil
}

// HVMParams is the value of each HVM parameter, little-endian u64 by index;
// parameters that Xen
// refuses, and those whose reading changes the domain, are ~0.
func (x *Xen) HVMParams(domain uint16) ([]byte, error) {
	out := bytes.Repeat([]byte{0xff}, 8*xenabi.HVMParams)
	x.mu.Lock()
	defer x.mu.Unlock()
	var got int
	var last error
	for i := range uint32(xenabi.HVMParams) {
		if xenabi.HVMParamHasSideEffect(i) {
			continue
		}
		xenabi.PutHVMParamQuery(x.arg.Bytes, domain, i)
		if _, err := x.port.Call(xenabi.HypercallHVMOp, xenabi.HVMOpGetParam, x.arg.Addr); err != nil {
			last = err
			continue
		}
		copy(out[8*i:], x.arg.Bytes[8:xenabi.HVMParamSize])
		got++
	}
	if got == 0 {
		return nil, fmt.Errorf("hvm parameters of domain %d: %w", domain, last)
	}
	return out, nil
}

// TSCInfo is the raw struct xen_domctl_tsc_info.
func (x *Xen) TSCInfo(domain uint16) ([]byte, error) {
	var out []byte
	err := x.call(xenabi.DomctlGetTSCInfo, domain, nil, func(d xenabi.Domctl) {
		out = bytes.Clone(d.Union()[:xenabi.TSCInfoSize])
	})
	if err != nil {
		return nil, fmt.Errorf("gettscinfo of domain %d: %w", domain, err)
	}
	return out, nil
}

// AddressSize is the width of the guest's pointers: 32 or 64.
func (x *Xen) AddressSize(domain uint16) (int, error) {
	var size uint32
	err := x.call(xenabi.DomctlGetAddressSize, domain, nil, func(d xenabi.Domctl) { size = d.Get32(xenabi.AddressSizeSize) })
	if err != nil {
		return 0, fmt.Errorf("get_address_size of domain %d: %w", domain, err)
	}
	return int(size), nil
}
