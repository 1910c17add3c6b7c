package xenabi

import "encoding/binary"

// Flags of DomainInfo (XEN_DOMINF_*, xen/include/public/domctl.h).
const (
	DomainDying    = 1 << 0
	DomainHVM      = 1 << 1 // HVM or PVH
	DomainShutdown = 1 << 2
	DomainPaused   = 1 << 3 // by the toolstack: the pause count is not 0
	DomainBlocked  = 1 << 4
	DomainRunning  = 1 << 5
	DomainHAP      = 1 << 8

	domainShutdownShift = 16 // eight bits of SHUTDOWN_*
)

// Reasons of a shutdown (xen/include/public/sched.h).
const (
	ShutdownPoweroff = 0
	ShutdownReboot   = 1
	ShutdownSuspend  = 2
	ShutdownCrash    = 3
)

// DomainInfo is struct xen_domctl_getdomaininfo, up to where releases agree.
type DomainInfo struct {
	Domain           uint16
	Flags            uint32
	TotalPages       uint64 // frames the domain has now
	MaxPages         uint64 // frames it may have; ~0 without a limit
	OutstandingPages uint64
	SharedPages      uint64 // frames it shares with other domains; not among TotalPages
	PagedPages       uint64 // pages whose frames were paged out; not among TotalPages
	SharedInfoFrame  uint64 // mfn for PV; gfn or ~0 else
	CPUTime          uint64 // ns
	OnlineVCPUs      uint32
	MaxVCPUID        uint32
	Handle           [16]byte // the UUID
}

// DomainInfoSize is how much of the union ParseDomainInfo reads.
const DomainInfoSize = 92

// ParseDomainInfo reads the union of a DomctlGetDomainInfo.
func ParseDomainInfo(u []byte) DomainInfo {
	le := binary.LittleEndian
	_ = u[DomainInfoSize-1]
	return DomainInfo{
		Domain:           le.Uint16(u[0:]),
		Flags:            le.Uint32(u[4:]),
		TotalPages:       le.Uint64(u[8:]),
		MaxPages:         le.Uint64(u[16:]),
		OutstandingPages: le.Uint64(u[24:]),
		SharedPages:      le.Uint64(u[32:]),
		PagedPages:       le.Uint64(u[40:]),
		SharedInfoFrame:  le.Uint64(u[48:]),
		CPUTime:          le.Uint64(u[56:]),
		OnlineVCPUs:      le.Uint32(u[64:]),
		MaxVCPUID:        le.Uint32(u[68:]),
		Handle:           [16]byte(u[76:92]),
	}
}

// Append writes d the way the hypervisor would, into the union u.
func (d *DomainInfo) Put(u []byte) {
	le := binary.LittleEndian
	le.PutUint16(u[0:], d.Domain)
	le.PutUint32(u[4:], d.Flags)
	le.PutUint64(u[8:], d.TotalPages)
	le.PutUint64(u[16:], d.MaxPages)
	le.PutUint64(u[24:], d.OutstandingPages)
	le.PutUint64(u[32:], d.SharedPages)
	le.PutUint64(u[40:], d.PagedPages)
	le.PutUint64(u[48:], d.SharedInfoFrame)
	le.PutUint64(u[56:], d.CPUTime)
	le.PutUint32(u[64:], d.OnlineVCPUs)
	le.PutUint32(u[68:], d.MaxVCPUID)
	copy(u[76:92], d.Handle[:])
}

// HVM says that the guest's frames are gfns: it is HVM or PVH, not PV.
func (d *DomainInfo) HVM() bool { return d.Flags&DomainHVM != 0 }

// Paused says that the toolstack's pause count is not 0.
func (d *DomainInfo) Paused() bool { return d.Flags&DomainPaused != 0 }

// Building says that the toolstack has not let the domain run yet: it may be empty, or
// half restored.
func (d *DomainInfo) Building() bool { return d.Paused() && d.CPUTime == 0 }

// Gone says that the domain is being destroyed.
func (d *DomainInfo) Gone() bool { return d.Flags&DomainDying != 0 }

// ShutdownReason is SHUTDOWN_* when the guest has shut down.
func (d *DomainInfo) ShutdownReason() (reason uint8, down bool) {
	return uint8(d.Flags >> domainShutdownShift), d.Flags&DomainShutdown != 0
}
