package xenabi

import "encoding/binary"

// HVMParamSize is sizeof(struct xen_hvm_param) (public/hvm/hvm_op.h): domid u16,
// pad, index u32, value u64.
const HVMParamSize = 16

// PutHVMParamQuery writes the question for one parameter.
func PutHVMParamQuery(b []byte, domain uint16, index uint32) {
	clear(b[:HVMParamSize])
	binary.LittleEndian.PutUint16(b, domain)
	binary.LittleEndian.PutUint32(b[4:], index)
}

// HVMParamHasSideEffect says that asking for a parameter makes older releases
// create a default ioreq server for the domain (hvm_get_param in
// xen/arch/x86/hvm/hvm.c: IOREQ_PFN, BUFIOREQ_PFN, BUFIOREQ_EVTCHN).
func HVMParamHasSideEffect(index uint32) bool { return index == 5 || index == 6 || index == 26 }
