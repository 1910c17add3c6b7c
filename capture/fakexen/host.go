package fakexen

import (
	"bytes"
	"encoding/binary"
	"sync"
	"syscall"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
)

// Host is an imaginary Xen. It is a hypercall.Port, so that everything above the
// raw calls is the code that runs on a real host.
type Host struct {
	DomctlVersion uint32 // the one it accepts; others are EACCES
	Major, Minor  int
	// OnMap is called, unlocked, before each batch of frames is mapped: a guest's
	// chance to run. It is skipped for a domain that is paused.
	OnMap func(domain uint16)

	mu         sync.Mutex
	domains    map[uint16]*Domain
	buffers    map[uint64]*hypercall.Buffer
	nextAddr   uint64
	restricted *uint16
	mapped     int // frames mapped now
	closed     bool
}

// NewHost makes a Xen 4.17 with a dom0 and the given guests.
func NewHost(domains ...*Domain) *Host {
	h := &Host{
		DomctlVersion: 0x15, Major: 4, Minor: 17, nextAddr: 0x1000,
		domains: map[uint16]*Domain{}, buffers: map[uint64]*hypercall.Buffer{},
	}
	h.domains[0] = &Domain{VCPUs: 2, frames: map[uint64][]byte{}}
	for _, d := range domains {
		h.domains[d.ID] = d
	}
	return h
}

// Alloc is part of hypercall.Port.
func (h *Host) Alloc(n int) (*hypercall.Buffer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	addr := h.nextAddr
	h.nextAddr += uint64(n+xenabi.PageSize-1)&^(xenabi.PageSize-1) + xenabi.PageSize
	b := &hypercall.Buffer{Bytes: make([]byte, n), Addr: addr}
	b.Free = func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.buffers, addr)
		return nil
	}
	h.buffers[addr] = b
	return b, nil
}

// Close is part of hypercall.Port.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return nil
}

// Restrict is part of hypercall.Port.
func (h *Host) Restrict(domain uint16) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restricted = &domain
	return nil
}

// Map is part of hypercall.Port.
func (h *Host) Map(domain uint16, frames []uint64) (*hypercall.Mapping, error) {
	h.run(domain)
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.reachable(domain)
	if err != nil {
		return nil, err
	}
	data := make([]byte, len(frames)*xenabi.PageSize)
	errs := make([]error, len(frames))
	for i, f := range frames {
		d.touch(f)
		page := d.frames[f]
		if page == nil || d.broken[f] {
			errs[i] = syscall.EINVAL
			continue
		}
		copy(data[i*xenabi.PageSize:], page)
	}
	h.mapped += len(frames)
	return hypercall.NewMapping(data, errs, xenabi.PageSize, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mapped -= len(frames)
		return nil
	}), nil
}

func (h *Host) run(domain uint16) {
	h.mu.Lock()
	d, step := h.domains[domain], h.OnMap
	idle := d == nil || d.pauses > 0 || d.dying
	h.mu.Unlock()
	if step != nil && !idle {
		step(domain)
	}
}

func (h *Host) reachable(domain uint16) (*Domain, error) {
	if h.closed {
		return nil, syscall.EBADF
	}
	if h.restricted != nil && *h.restricted != domain {
		return nil, syscall.EPERM
	}
	d := h.domains[domain]
	if d == nil || d.dying {
		return nil, syscall.ESRCH
	}
	return d, nil
}

// ResourceFrames is part of hypercall.Port: what the grant table may grow to.
func (h *Host) ResourceFrames(domain uint16, typ, _ uint32) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.reachable(domain); err != nil {
		return 0, err
	}
	if typ != xenabi.ResourceGrantTable {
		return 0, syscall.EOPNOTSUPP
	}
	return 64, nil
}

// MapResource is part of hypercall.Port.
func (h *Host) MapResource(domain uint16, typ, id, first uint32, n int) (*hypercall.Mapping, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.reachable(domain)
	if err != nil {
		return nil, err
	}
	if typ != xenabi.ResourceGrantTable || id != xenabi.ResourceGrantTableShared {
		return nil, syscall.EOPNOTSUPP
	}
	if int(first)+n > d.grantFrames() {
		return nil, syscall.EINVAL
	}
	table := make([]byte, d.grantFrames()*xenabi.PageSize)
	for i, e := range d.grants {
		e.Put(table[i*xenabi.GrantEntryV1Size:])
	}
	return hypercall.NewMapping(table[int(first)*xenabi.PageSize:], nil, xenabi.PageSize, nil), nil
}

func (d *Domain) grantFrames() int {
	return max(1, (len(d.grants)*xenabi.GrantEntryV1Size+xenabi.PageSize-1)/xenabi.PageSize)
}

// Call is part of hypercall.Port.
func (h *Host) Call(op uint64, args ...uint64) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, syscall.EBADF
	}
	if h.restricted != nil {
		return 0, syscall.EPERM
	}
	switch op {
	case xenabi.HypercallXenVersion:
		return h.xenVersion(args[0], args[1])
	case xenabi.HypercallDomctl:
		b := h.buffers[args[0]]
		if b == nil || len(b.Bytes) < xenabi.DomctlSize {
			return 0, syscall.EFAULT
		}
		return h.domctl(xenabi.Domctl(b.Bytes))
	case xenabi.HypercallMemoryOp:
		return h.memoryOp(args[0], args[1])
	case xenabi.HypercallHVMOp:
		return h.hvmOp(args[0], args[1])
	case xenabi.HypercallGrantTableOp:
		return h.grantOp(args[0], args[1])
	}
	return 0, syscall.ENOSYS
}

func (h *Host) xenVersion(cmd, addr uint64) (int64, error) {
	texts := map[uint64]string{
		xenabi.VersionExtra: ".7-imaginary", xenabi.VersionCapabilities: "xen-3.0-x86_64 hvm-3.0-x86_64 ",
		xenabi.VersionCommandLine: "placeholder dom0_mem=1G", xenabi.VersionChangeset: "unavailable",
	}
	switch cmd {
	case xenabi.VersionNumber:
		return int64(h.Major)<<16 | int64(h.Minor), nil
	case xenabi.VersionBuildID:
		return 0, syscall.ENODATA
	case xenabi.VersionCompileInfo:
		return 0, syscall.EPERM // as with an XSM policy that hides it
	}
	b := h.buffers[addr]
	if b == nil {
		return 0, syscall.EFAULT
	}
	copy(b.Bytes, texts[cmd])
	return 0, nil
}

func (h *Host) memoryOp(cmd, addr uint64) (int64, error) {
	b := h.buffers[addr]
	if b == nil {
		return 0, syscall.EFAULT
	}
	switch cmd {
	case xenabi.MemoryMaximumGPFN:
		d, err := h.reachable(binary.LittleEndian.Uint16(b.Bytes))
		if err != nil {
			return 0, err
		}
		return int64(d.maxGPFN()), nil
	case xenabi.MemoryGetPoDTarget:
		d, err := h.reachable(xenabi.PoDQueryDomain(b.Bytes))
		if err != nil {
			return 0, err
		}
		if !d.HVM {
			return 0, syscall.EINVAL
		}
		xenabi.PoDTarget{Total: uint64(len(d.frames)), Cache: d.PoDCache, Entries: d.outstanding()}.Put(b.Bytes)
		return 0, nil
	}
	return 0, syscall.ENOSYS
}

func (h *Host) hvmOp(cmd, addr uint64) (int64, error) {
	b := h.buffers[addr]
	if b == nil || cmd != xenabi.HVMOpGetParam {
		return 0, syscall.EINVAL
	}
	d, err := h.reachable(binary.LittleEndian.Uint16(b.Bytes))
	if err != nil {
		return 0, err
	}
	index := binary.LittleEndian.Uint32(b.Bytes[4:])
	if !d.HVM || index == 35 {
		return 0, syscall.EINVAL
	}
	binary.LittleEndian.PutUint64(b.Bytes[8:], 0x1000+uint64(index))
	return 0, nil
}

func (h *Host) grantOp(cmd, addr uint64) (int64, error) {
	b := h.buffers[addr]
	if b == nil {
		return 0, syscall.EFAULT
	}
	d, err := h.reachable(binary.LittleEndian.Uint16(b.Bytes))
	if err != nil {
		return 0, err
	}
	switch cmd {
	case xenabi.GrantOpQuerySize:
		binary.LittleEndian.PutUint32(b.Bytes[xenabi.GrantQueryFrames:], uint32(d.grantFrames()))
	case xenabi.GrantOpSetupTable:
		le := binary.LittleEndian
		list := h.buffers[le.Uint64(b.Bytes[xenabi.GrantSetupList:])]
		n := int(le.Uint32(b.Bytes[xenabi.GrantSetupFrames:]))
		if list == nil || len(list.Bytes) < 8*n {
			return 0, syscall.EFAULT
		}
		d.tableGrown = d.tableGrown || n > d.grantFrames()
		for i := range n {
			frame := ^uint64(0)
			if i+1 < len(d.Shared) {
				frame = d.Shared[i+1]
			}
			le.PutUint64(list.Bytes[8*i:], frame)
		}
	case xenabi.GrantOpGetVersion:
		binary.LittleEndian.PutUint32(b.Bytes[xenabi.GrantVersionVersion:], 1)
	default:
		return 0, syscall.ENOSYS
	}
	return 0, nil
}

// hvmContext is a save image of one CPU record and the end record.
func (d *Domain) hvmContext() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, struct {
		Type, Instance uint16
		Len            uint32
	}{2, 0, 1032})
	b.Write(make([]byte, 1032))
	b.Write(make([]byte, 8))
	return b.Bytes()
}
