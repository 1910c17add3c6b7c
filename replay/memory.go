package replay

import "github.com/xentape/xentape/format"

// Memory is a guest's physical memory at one moment: a snapshot of a tape, or an
// imported image. Pages are guest frames (pfn for PV, gfn else).
type Memory interface {
	format.Image
	// Info says what is known of the snapshot as a whole.
	Info() MemoryInfo
	// Attachment returns a raw blob recorded with the snapshot ("xen/vcpu/0", "xen/p2m", …).
	Attachment(name string) ([]byte, bool)
	// Attachments lists their names, sorted.
	Attachments() []string
	// Changed lists the frames that may differ from the previous snapshot of the
	// same boot, ascending; known is false when there is none to compare with.
	Changed() (frames []format.Extent, known bool)
}

// MemoryInfo describes one memory snapshot.
type MemoryInfo struct {
	Snapshot   int    // ordinal among the tape's memory snapshots of this guest, from 1: what users type as #1
	ID         uint32 // format snapshot id; 0 for a foreign image
	Guest      GuestType
	Xen        string // release of the hypervisor, "4.17"; "" where it is not known
	Time       int64  // ns CLOCK_MONOTONIC of the instant it stands for (pause, or end of copy)
	Realtime   int64  // the same in ns since 1970 UTC; 0 unknown
	Conditions format.Conditions
	First      uint64 // sequence number of its SnapshotBegin record
	Last       uint64 // sequence number of its SnapshotEnd record
	Source     string // where it came from, for provenance lines: "tape.xtape snapshot 2", "core.elf (ELF vmcore)"
}

// GuestType is how a guest's frames relate to machine frames.
type GuestType uint8

// The guest types.
const (
	GuestUnknown GuestType = iota
	GuestPV                // page tables hold machine frames; translate by xen/p2m
	GuestPVH
	GuestHVM
	GuestBare // not under Xen: QEMU vmcore, LiME, raw
)
