package export

import (
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay"
)

// Raw writes memory as a flat image: byte N of the file is guest-physical byte
// N. What has no content is a hole and reads as zeros.
func Raw(f File, m replay.Memory) (losses []string, err error) {
	es := m.Extents()
	if err := f.Truncate(int64(end(es)) * format.PageSize); err != nil {
		return nil, err
	}
	var missing uint64
	for _, e := range es {
		n, err := rebuild.CopyPages(f, int64(e.Start)*format.PageSize, m, e)
		if err != nil {
			return nil, err
		}
		missing += n
	}
	losses = rebuild.MissingLoss(missing, "memory")
	losses = append(losses, "a raw image tells holes from zeros nowhere and carries no processor state")
	return append(losses, pvLoss(m)...), nil
}

// pvLoss words what is lost when a PV guest's frames leave without its p2m.
func pvLoss(m replay.Memory) []string {
	if m.Info().Guest != replay.GuestPV {
		return nil
	}
	return []string{"page tables of this PV guest hold machine frames, and the table to translate them (xen/p2m) has no place in this format: use xen-core"}
}

// end is one past the last page of the extents.
func end(es []format.Extent) uint64 {
	if len(es) == 0 {
		return 0
	}
	last := es[len(es)-1]
	return last.Start + last.Count
}
