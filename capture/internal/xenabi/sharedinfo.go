package xenabi

import "encoding/binary"

// Offsets in struct shared_info of an x86-64 guest (public/xen.h,
// public/arch-x86/xen.h), checked with offsetof against Xen 4.17's headers.
const (
	sharedInfoMaxPFN        = 3088
	sharedInfoFrameListList = 3096
	sharedInfoP2MCR3        = 3112
	sharedInfoP2MVAddr      = 3120
	sharedInfoP2MGeneration = 3128

	// SharedInfoSize is sizeof(shared_info_t).
	SharedInfoSize = 3136
)

// P2MRoot says where a PV guest keeps its physical-to-machine map. The guest
// writes these fields: nothing about them is to be trusted.
type P2MRoot struct {
	MaxPFN        uint64 // one past the last pfn
	FrameListList uint64 // mfn of the root of the three-level list; 0 or ~0 when not set up
	CR3           uint64 // page table through which VAddr is read; 0 when not offered
	VAddr         uint64
	Generation    uint64 // odd while the guest changes the map
}

// ParseP2MRoot reads the fields from a shared_info frame.
func ParseP2MRoot(frame []byte) P2MRoot {
	le := binary.LittleEndian
	_ = frame[SharedInfoSize-1]
	return P2MRoot{
		MaxPFN:        le.Uint64(frame[sharedInfoMaxPFN:]),
		FrameListList: le.Uint64(frame[sharedInfoFrameListList:]),
		CR3:           le.Uint64(frame[sharedInfoP2MCR3:]),
		VAddr:         le.Uint64(frame[sharedInfoP2MVAddr:]),
		Generation:    le.Uint64(frame[sharedInfoP2MGeneration:]),
	}
}

// Put writes the fields into a shared_info frame.
func (r *P2MRoot) Put(frame []byte) {
	le := binary.LittleEndian
	le.PutUint64(frame[sharedInfoMaxPFN:], r.MaxPFN)
	le.PutUint64(frame[sharedInfoFrameListList:], r.FrameListList)
	le.PutUint64(frame[sharedInfoP2MCR3:], r.CR3)
	le.PutUint64(frame[sharedInfoP2MVAddr:], r.VAddr)
	le.PutUint64(frame[sharedInfoP2MGeneration:], r.Generation)
}

// P2M entries of a Linux PV guest (arch/x86/include/asm/xen/page.h).
const (
	P2MInvalid     = ^uint64(0)
	P2MForeignBit  = 1 << 63 // a frame of another domain, granted to this one
	P2MIdentityBit = 1 << 62 // machine address = physical address: device memory
	P2MPerFrame    = PageSize / 8
	PageTablePFNs  = 1 << 9
	PageEntryFrame = 0x000ffffffffff000
	PageEntryValid = 1 << 0
	PageEntryLarge = 1 << 7
)
