package xenabi

import "encoding/binary"

// Flags of a grant table entry (public/grant_table.h, GTF_*).
const (
	GrantTypeMask     = 3
	GrantPermitAccess = 1
	GrantReadOnly     = 1 << 2
	GrantReading      = 1 << 3
	GrantWriting      = 1 << 4
	GrantSubPage      = 1 << 8
)

// Commands of grant_table_op, and where their answers are: {u16 domid;
// u32 nr_frames@4; u32 max_nr_frames@8; i16 status@12} and {u16 domid;
// u32 version@4}.
const (
	GrantOpQuerySize     = 6
	GrantOpQuerySizeSize = 16
	GrantQueryFrames     = 4
	GrantQueryStatus     = 12
	GrantOpGetVersion    = 10
	GrantVersionVersion  = 4
)

// struct gnttab_setup_table: {u16 dom; u32 nr_frames@4; i16 status@8; handle of u64
// frame_list@16}. Asked about another domain, and for no more frames than its table
// has, the command changes nothing and says where the guest has the table mapped
// (xen/common/grant_table.c, gnttab_setup_table).
const (
	GrantOpSetupTable = 2
	GrantSetupSize    = 24
	GrantSetupFrames  = 4
	GrantSetupStatus  = 8
	GrantSetupList    = 16
)

// GrantEntryV1Size and GrantEntryV2Size are the sizes of one entry.
const (
	GrantEntryV1Size = 8
	GrantEntryV2Size = 16
)

// GrantEntry is one entry of a grant table: a frame the guest lets another
// domain use. The guest writes it; only Reading and Writing are the hypervisor's.
type GrantEntry struct {
	Flags  uint16
	Domain uint16
	Frame  uint64
}

// ParseGrantV1 reads one grant_entry_v1.
func ParseGrantV1(b []byte) GrantEntry {
	le := binary.LittleEndian
	return GrantEntry{Flags: le.Uint16(b), Domain: le.Uint16(b[2:]), Frame: uint64(le.Uint32(b[4:]))}
}

// ParseGrantV2 reads one grant_entry_v2. A transitive grant (type 3) names no
// frame of this guest.
func ParseGrantV2(b []byte) GrantEntry {
	le := binary.LittleEndian
	return GrantEntry{Flags: le.Uint16(b), Domain: le.Uint16(b[2:]), Frame: le.Uint64(b[8:])}
}

// Put writes e as a grant_entry_v1.
func (e GrantEntry) Put(b []byte) {
	le := binary.LittleEndian
	le.PutUint16(b, e.Flags)
	le.PutUint16(b[2:], e.Domain)
	le.PutUint32(b[4:], uint32(e.Frame))
}

// Writable says that a backend may write the frame.
func (e GrantEntry) Writable() bool {
	return e.Flags&GrantTypeMask == GrantPermitAccess && e.Flags&GrantReadOnly == 0
}
