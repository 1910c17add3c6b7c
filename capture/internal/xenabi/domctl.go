package xenabi

import (
	"encoding/binary"
	"fmt"
)

// DomctlSize is sizeof(struct xen_domctl): a 16 byte head and a 128 byte union.
// It is the same in Xen 4.12 to 4.22.
const DomctlSize = 144

// domctlUnion is where the union of struct xen_domctl begins.
const domctlUnion = 16

// Commands of domctl (xen/include/public/domctl.h, XEN_DOMCTL_*).
const (
	DomctlPause             = 3
	DomctlUnpause           = 4
	DomctlGetDomainInfo     = 5
	DomctlShadowOp          = 10
	DomctlGetVCPUContext    = 13
	DomctlGetHVMContext     = 33
	DomctlGetAddressSize    = 36
	DomctlGetTSCInfo        = 59
	DomctlGetPageFrameInfo3 = 61
	DomctlGetVCPUExtState   = 63
)

// Interface versions of domctl (XEN_DOMCTL_INTERFACE_VERSION) whose layouts are
// known, and the range worth probing.
const (
	DomctlFirstKnown = 0x11 // Xen 4.12
	DomctlLastKnown  = 0x18 // Xen 4.22
	DomctlLastProbed = 0x1f
)

// XenOfDomctl names the releases that speak a domctl interface version.
func XenOfDomctl(version uint32) string {
	switch version {
	case 0x11:
		return "4.12"
	case 0x12:
		return "4.13–4.14"
	case 0x13:
		return "4.15"
	case 0x14:
		return "4.16"
	case 0x15:
		return "4.17"
	case 0x16:
		return "4.18"
	case 0x17:
		return "4.19–4.21"
	case 0x18:
		return "4.22"
	}
	return fmt.Sprintf("unknown (domctl interface %#x)", version)
}

// Operations and modes of DomctlShadowOp (XEN_DOMCTL_SHADOW_*).
const (
	ShadowOff            = 0
	ShadowEnableLogDirty = 2
	ShadowClean          = 11
	ShadowPeek           = 12
)

// MaxPageFrameInfo is how many frames one DomctlGetPageFrameInfo3 may ask for;
// more is E2BIG.
const MaxPageFrameInfo = 1024

// Page types as DomctlGetPageFrameInfo3 gives them, shifted down
// (XEN_DOMCTL_PFINFO_*, bits 28 to 31; bit 31 of the plain types is "pinned").
const (
	PageTypeNone      = 0x0
	PageTypeBroken    = 0xd
	PageTypeXAlloc    = 0xe // allocated on demand
	PageTypeInvalid   = 0xf
	PageTypeTableMask = 0x7 // L1 to L4 page tables are 1 to 4
)

// PageTypeOf extracts the type from one word of the answer.
func PageTypeOf(word uint64) uint8 { return uint8(word >> 28 & 0xf) }

// Domctl is one struct xen_domctl in hypercall-safe memory of DomctlSize bytes.
type Domctl []byte

// Begin zeroes d and fills its head.
func (d Domctl) Begin(cmd, version uint32, domain uint16) {
	clear(d[:DomctlSize])
	binary.LittleEndian.PutUint32(d[0:], cmd)
	binary.LittleEndian.PutUint32(d[4:], version)
	binary.LittleEndian.PutUint16(d[8:], domain)
}

// Command, Version and Domain read the head back.
func (d Domctl) Command() uint32 { return binary.LittleEndian.Uint32(d[0:]) }

// Version is the interface version the caller speaks.
func (d Domctl) Version() uint32 { return binary.LittleEndian.Uint32(d[4:]) }

// Domain is the domain the command is about.
func (d Domctl) Domain() uint16 { return binary.LittleEndian.Uint16(d[8:]) }

// Union is the part whose layout the command decides.
func (d Domctl) Union() []byte { return d[domctlUnion:DomctlSize] }

// Put32 and Put64 set a field of the union; Get32 and Get64 read one.
func (d Domctl) Put32(off int, v uint32) { binary.LittleEndian.PutUint32(d[domctlUnion+off:], v) }

// Put64 sets a 64-bit field of the union.
func (d Domctl) Put64(off int, v uint64) { binary.LittleEndian.PutUint64(d[domctlUnion+off:], v) }

// Get32 reads a 32-bit field of the union.
func (d Domctl) Get32(off int) uint32 { return binary.LittleEndian.Uint32(d[domctlUnion+off:]) }

// Get64 reads a 64-bit field of the union.
func (d Domctl) Get64(off int) uint64 { return binary.LittleEndian.Uint64(d[domctlUnion+off:]) }

// Offsets in the union of the commands used here.
const (
	ShadowOpOp       = 0  // u32
	ShadowOpMode     = 4  // u32
	ShadowOpBitmap   = 16 // guest handle
	ShadowOpPages    = 24 // u64, in and out
	ShadowOpFaults   = 32 // u32
	ShadowOpDirty    = 36 // u32
	VCPUContextVCPU  = 0  // u32
	VCPUContextPtr   = 8  // guest handle
	HVMContextSize   = 0  // u32, in and out
	HVMContextPtr    = 8  // guest handle
	PageFrameNum     = 0  // u64
	PageFrameArray   = 8  // guest handle to u64s, in place
	AddressSizeSize  = 0  // u32
	ExtStateVCPU     = 0  // u32
	ExtStateFeatures = 8  // u64
	ExtStateSize     = 16 // u64, in and out
	ExtStatePtr      = 24 // guest handle
)

// TSCInfoSize is sizeof(struct xen_domctl_tsc_info): mode u32, kHz u32,
// incarnation u32, pad, elapsed ns u64.
const TSCInfoSize = 24

// VCPUContextSize is sizeof(vcpu_guest_context_t) for x86-64 (public/arch-x86/xen.h).
const VCPUContextSize = 5168
