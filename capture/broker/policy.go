//go:build linux

package broker

import (
	"encoding/binary"
	"errors"
	"slices"
	"syscall"

	"github.com/xentape/xentape/capture/internal/xenabi"
)

// call is one hypercall of a recorder: allowed, with the buffers it uses, or not.
// The arguments are the recorder's; nothing in them is believed.
type call struct {
	s    *server
	used []*buffer
}

// use takes a buffer of at least n bytes at an address the recorder named, and fetches
// what the recorder put there.
func (c *call) use(addr uint64, n uint64) ([]byte, bool) {
	b := c.s.buffers.at(addr)
	if b == nil || uint64(len(b.shared)) < n || slices.Contains(c.used, b) {
		return nil, false // fetched twice, it could change after it was checked
	}
	b.in()
	c.used = append(c.used, b)
	return b.own.Bytes, true
}

// allowed says whether a call may be made. It is a list of what recording takes:
// what is not named here is refused.
func (c *call) allowed(op uint64, a [maxArgs]uint64) bool {
	le := binary.LittleEndian
	switch op {
	case xenabi.HypercallXenVersion:
		return c.version(a[0], a[1])
	case xenabi.HypercallMemoryOp:
		b, ok := c.use(a[1], xenabi.PoDTargetSize)
		switch {
		case !ok:
			return false
		case a[0] == xenabi.MemoryMaximumGPFN:
			return c.s.permits(le.Uint16(b))
		case a[0] == xenabi.MemoryGetPoDTarget:
			return c.s.permits(xenabi.PoDQueryDomain(b))
		}
	case xenabi.HypercallGrantTableOp:
		return a[2] == 1 && c.grantTable(a[0], a[1])
	case xenabi.HypercallHVMOp:
		b, ok := c.use(a[1], xenabi.HVMParamSize)
		return ok && a[0] == xenabi.HVMOpGetParam && c.s.permits(le.Uint16(b)) &&
			!xenabi.HVMParamHasSideEffect(le.Uint32(b[4:]))
	case xenabi.HypercallDomctl:
		b, ok := c.use(a[0], xenabi.DomctlSize)
		return ok && c.domctl(xenabi.Domctl(b))
	}
	return false
}

func (c *call) grantTable(cmd, addr uint64) bool {
	le := binary.LittleEndian
	switch cmd {
	case xenabi.GrantOpQuerySize, xenabi.GrantOpGetVersion:
		b, ok := c.use(addr, xenabi.GrantOpQuerySizeSize)
		return ok && c.s.permits(le.Uint16(b))
	case xenabi.GrantOpSetupTable:
		b, ok := c.use(addr, xenabi.GrantSetupSize)
		if !ok || !c.s.permits(le.Uint16(b)) {
			return false
		}
		// More frames than the table has would make it grow.
		frames, err := c.s.grantFrames(le.Uint16(b))
		n := le.Uint32(b[xenabi.GrantSetupFrames:])
		return err == nil && n <= frames && c.pointsTo(le.Uint64(b[xenabi.GrantSetupList:]), 8*uint64(n))
	}
	return false
}

func (c *call) version(cmd, addr uint64) bool {
	switch cmd {
	case xenabi.VersionNumber:
		return addr == 0
	case xenabi.VersionExtra, xenabi.VersionCompileInfo, xenabi.VersionCapabilities,
		xenabi.VersionChangeset, xenabi.VersionCommandLine, xenabi.VersionBuildID:
		_, ok := c.use(addr, xenabi.VersionCommandLineSize)
		return ok
	}
	return false
}

func (c *call) domctl(d xenabi.Domctl) bool {
	if d.Command() == xenabi.DomctlGetDomainInfo {
		return true // of any domain: it is how guests are found
	}
	if !c.s.permits(d.Domain()) {
		return false
	}
	switch d.Command() {
	case xenabi.DomctlGetAddressSize, xenabi.DomctlGetTSCInfo:
		return true
	case xenabi.DomctlUnpause:
		return c.s.mayUnpause(d.Domain())
	case xenabi.DomctlGetVCPUContext:
		return c.pointsTo(d.Get64(xenabi.VCPUContextPtr), xenabi.VCPUContextSize)
	case xenabi.DomctlGetHVMContext:
		ptr := d.Get64(xenabi.HVMContextPtr)
		return ptr == 0 || c.pointsTo(ptr, uint64(d.Get32(xenabi.HVMContextSize)))
	case xenabi.DomctlGetPageFrameInfo3:
		// More than Xen takes is E2BIG, from Xen.
		n := min(d.Get64(xenabi.PageFrameNum), xenabi.MaxPageFrameInfo+1)
		return n > xenabi.MaxPageFrameInfo || c.pointsTo(d.Get64(xenabi.PageFrameArray), 8*n)
	case xenabi.DomctlShadowOp:
		return c.shadow(d)
	}
	return false
}

func (c *call) shadow(d xenabi.Domctl) bool {
	switch d.Get32(xenabi.ShadowOpOp) {
	case xenabi.ShadowOff, xenabi.ShadowEnableLogDirty:
		return d.Get64(xenabi.ShadowOpBitmap) == 0
	case xenabi.ShadowClean, xenabi.ShadowPeek:
		pages := d.Get64(xenabi.ShadowOpPages)
		return pages <= maxBuffer*8 && c.pointsTo(d.Get64(xenabi.ShadowOpBitmap), (pages+63)/64*8)
	}
	return false
}

// pointsTo says that a guest handle is a whole buffer with room for n bytes: the
// hypervisor writes nowhere else in this process.
func (c *call) pointsTo(addr, n uint64) bool {
	_, ok := c.use(addr, n)
	return ok
}

// do makes a call if it is allowed.
func (s *server) do(op uint64, args [maxArgs]uint64, n int) (int64, error) {
	c := &call{s: s}
	if n > maxArgs || !c.allowed(op, args) {
		return 0, syscall.EPERM
	}
	r, err := s.config.Port.Call(op, args[:n]...)
	for _, b := range c.used {
		b.out()
	}
	return r, err
}

// grantFrames asks how many frames a guest's grant table has.
func (s *server) grantFrames(domain uint16) (frames uint32, err error) {
	b, err := s.config.Port.Alloc(xenabi.GrantOpQuerySizeSize)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Free()) }()
	le := binary.LittleEndian
	le.PutUint16(b.Bytes, domain)
	if _, err := s.config.Port.Call(xenabi.HypercallGrantTableOp, xenabi.GrantOpQuerySize, b.Addr, 1); err != nil {
		return 0, err
	}
	if le.Uint16(b.Bytes[xenabi.GrantQueryStatus:]) != 0 {
		return 0, syscall.EINVAL
	}
	return le.Uint32(b.Bytes[xenabi.GrantQueryFrames:]), nil
}
