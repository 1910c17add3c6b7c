package main

import (
	"encoding/binary"

	"github.com/xentape/xentape/replay"
)

// granted is the pages that the guest lets another domain write, by the grant table
// recorded with the snapshot: network buffers, the rings of its devices, and the
// console's and xenstore's pages. nil when there is no table of version 1 entries
// {u16 flags, u16 domain, u32 frame} (xen/include/public/grant_table.h).
func granted(m replay.Memory) map[uint64]bool {
	const entry, typeMask, permitAccess, readOnly = 8, 3, 1, 4
	table, ok := m.Attachment("xen/grant-table")
	if !ok {
		return nil
	}
	pages := pagesOfFrames(m)
	out := map[uint64]bool{}
	for ; len(table) >= entry; table = table[entry:] {
		flags, frame := binary.LittleEndian.Uint16(table), uint64(binary.LittleEndian.Uint32(table[4:]))
		if flags&typeMask != permitAccess || flags&readOnly != 0 {
			continue
		}
		if pages == nil {
			out[frame] = true
		} else if page, ok := pages[frame]; ok {
			out[page] = true
		}
	}
	return out
}

// pagesOfFrames turns a PV guest's p2m around: it grants machine frames. nil for
// guests whose grants name their own frames.
func pagesOfFrames(m replay.Memory) map[uint64]uint64 {
	p2m, ok := m.Attachment("xen/p2m")
	if !ok {
		return nil
	}
	out := make(map[uint64]uint64, len(p2m)/8)
	for pfn := 0; (pfn+1)*8 <= len(p2m); pfn++ {
		out[binary.LittleEndian.Uint64(p2m[8*pfn:])] = uint64(pfn)
	}
	return out
}
