package xenabi

// ioctl numbers of /dev/xen/privcmd (linux/include/uapi/xen/privcmd.h). They are
// _IOC(NONE, 'P', nr, size) and do not differ between kernels.
const (
	IoctlHypercall   = 0x305000
	IoctlMmapBatchV2 = 0x205004
	IoctlRestrict    = 0x025006
	IoctlMapResource = 0x205007
)

// Hypercall numbers (xen/include/public/xen.h).
const (
	HypercallMemoryOp     = 12
	HypercallXenVersion   = 17
	HypercallGrantTableOp = 20
	HypercallHVMOp        = 34
	HypercallSysctl       = 35
	HypercallDomctl       = 36
)

// Commands of xen_version (xen/include/public/version.h).
const (
	VersionNumber       = 0
	VersionExtra        = 1
	VersionCompileInfo  = 2
	VersionCapabilities = 3
	VersionChangeset    = 4
	VersionCommandLine  = 9
	VersionBuildID      = 10
)

// Sizes of what xen_version fills in, in bytes (xen/include/public/version.h).
const (
	VersionExtraSize        = 16
	VersionCompileInfoSize  = 144 // compiler 64, compile_by 16, compile_domain 32, compile_date 32
	VersionCapabilitiesSize = 1024
	VersionChangesetSize    = 64
	VersionCommandLineSize  = 1024
)

// Commands of memory_op (xen/include/public/memory.h).
const (
	MemoryMaximumRAMPage = 2
	MemoryMaximumGPFN    = 14
	MemoryGetPoDTarget   = 17
)

// HVMOpGetParam is HVMOP_get_param (xen/include/public/hvm/hvm_op.h).
const HVMOpGetParam = 1

// HVMParams is HVM_NR_PARAMS of Xen 4.17 (xen/include/public/hvm/params.h): one
// past the highest parameter index asked for.
const HVMParams = 39

// Resources that can be mapped (xen/include/public/memory.h, XENMEM_resource_*).
const (
	ResourceGrantTable       = 1
	ResourceGrantTableShared = 0 // id: the entries
	ResourceGrantTableStatus = 1 // id: status words of version 2 tables
)

// DomID0 is the control domain; DomIDSelf stands for the caller (xen.h).
const (
	DomID0    = 0
	DomIDSelf = 0x7ff0
)

// DomIDFirstReserved is the first id that no domain can have (xen.h).
const DomIDFirstReserved = 0x7ff0

// PageShift and PageSize are those of a Xen frame.
const (
	PageShift = 12
	PageSize  = 1 << PageShift
)
