package fakexen

import (
	"encoding/binary"
	"slices"
	"syscall"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// domctl does one domctl as xen/common/domctl.c would.
func (h *Host) domctl(c xenabi.Domctl) (int64, error) {
	if c.Version() != h.DomctlVersion {
		return 0, syscall.EACCES
	}
	if c.Command() == xenabi.DomctlGetDomainInfo {
		return h.domainInfo(c)
	}
	d := h.domains[c.Domain()]
	if d == nil {
		return 0, syscall.ESRCH
	}
	switch c.Command() {
	case xenabi.DomctlPause:
		return d.pause()
	case xenabi.DomctlUnpause:
		return d.unpause()
	case xenabi.DomctlGetPageFrameInfo3:
		return h.pageTypes(c, d)
	case xenabi.DomctlShadowOp:
		return h.shadowOp(c, d)
	case xenabi.DomctlGetVCPUContext:
		return h.vcpuContext(c, d)
	case xenabi.DomctlGetHVMContext:
		return h.hvmContext(c, d)
	case xenabi.DomctlGetAddressSize:
		c.Put32(xenabi.AddressSizeSize, 64)
		return 0, nil
	case xenabi.DomctlGetTSCInfo:
		c.Put32(4, 2_000_000)
		return 0, nil
	}
	return 0, syscall.ENOSYS
}

// domainInfo answers for a missing domain with the next there is, as releases
// before 4.19 do.
func (h *Host) domainInfo(c xenabi.Domctl) (int64, error) {
	ids := make([]uint16, 0, len(h.domains))
	for id := range h.domains {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if id >= c.Domain() {
			info := h.domains[id].info()
			info.Put(c.Union())
			return 0, nil
		}
	}
	return 0, syscall.ESRCH
}

// pauseLimit is where Xen's eight-bit count of toolstack pauses ends.
const pauseLimit = 255

func (d *Domain) pause() (int64, error) {
	if d.pauses >= pauseLimit {
		return 0, syscall.EOVERFLOW
	}
	d.pauses++
	d.paused++
	d.maxPauses = max(d.maxPauses, d.pauses)
	return 0, nil
}

func (d *Domain) unpause() (int64, error) {
	if d.pauses == 0 {
		return 0, syscall.EINVAL
	}
	d.pauses--
	return 0, nil
}

func (h *Host) pageTypes(c xenabi.Domctl, d *Domain) (int64, error) {
	n := c.Get64(xenabi.PageFrameNum)
	if n > xenabi.MaxPageFrameInfo {
		return 0, syscall.E2BIG
	}
	b := h.buffers[c.Get64(xenabi.PageFrameArray)]
	if b == nil || uint64(len(b.Bytes)) < 8*n {
		return 0, syscall.EFAULT
	}
	for i := range n {
		f := binary.LittleEndian.Uint64(b.Bytes[8*i:])
		d.touch(f)
		typ := uint64(xenabi.PageTypeNone)
		switch {
		case d.broken[f]:
			typ = xenabi.PageTypeBroken
		case d.frames[f] == nil, slices.Contains(d.Shared, f):
			typ = xenabi.PageTypeInvalid
		}
		binary.LittleEndian.PutUint64(b.Bytes[8*i:], typ<<28)
	}
	return 0, nil
}

// shadowOp is log-dirty: with it off, reading the bitmap works and says that
// nothing was written.
func (h *Host) shadowOp(c xenabi.Domctl, d *Domain) (int64, error) {
	if !d.HVM || !d.HAP {
		return 0, syscall.EOPNOTSUPP
	}
	switch op := c.Get32(xenabi.ShadowOpOp); op {
	case xenabi.ShadowEnableLogDirty:
		if d.dirty != nil {
			return 0, syscall.EINVAL
		}
		d.dirty = map[uint64]bool{}
		return 0, nil
	case xenabi.ShadowOff:
		d.dirty = nil
		return 0, nil
	case xenabi.ShadowClean, xenabi.ShadowPeek:
		n := c.Get64(xenabi.ShadowOpPages)
		b := h.buffers[c.Get64(xenabi.ShadowOpBitmap)]
		if b == nil || uint64(len(b.Bytes)) < (n+7)/8 {
			return 0, syscall.EFAULT
		}
		clear(b.Bytes[:(n+7)/8])
		for f := range d.dirty {
			if f < n {
				b.Bytes[f/8] |= 1 << (f % 8)
			}
		}
		c.Put32(xenabi.ShadowOpDirty, uint32(len(d.dirty)))
		if op == xenabi.ShadowClean && d.dirty != nil {
			d.dirty = map[uint64]bool{}
		}
		return 0, nil
	}
	return 0, syscall.EINVAL
}

func (h *Host) vcpuContext(c xenabi.Domctl, d *Domain) (int64, error) {
	if c.Get32(xenabi.VCPUContextVCPU) >= d.VCPUs {
		return 0, syscall.EINVAL
	}
	b := h.buffers[c.Get64(xenabi.VCPUContextPtr)]
	if b == nil || len(b.Bytes) < xenabi.VCPUContextSize {
		return 0, syscall.EFAULT
	}
	const rip = 648
	binary.LittleEndian.PutUint64(b.Bytes[rip:], 0xffffffff81000000+uint64(d.ID))
	return 0, nil
}

func (h *Host) hvmContext(c xenabi.Domctl, d *Domain) (int64, error) {
	if !d.HVM {
		return 0, syscall.EINVAL
	}
	image := d.hvmContext()
	const spare = 64 // Xen's size is an upper bound
	ptr := c.Get64(xenabi.HVMContextPtr)
	if ptr == 0 {
		c.Put32(xenabi.HVMContextSize, uint32(len(image)+spare))
		return 0, nil
	}
	b := h.buffers[ptr]
	if b == nil || len(b.Bytes) < len(image) {
		return 0, syscall.ENOSPC
	}
	copy(b.Bytes, image)
	c.Put32(xenabi.HVMContextSize, uint32(len(image)))
	return 0, nil
}
