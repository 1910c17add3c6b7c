package export

import (
	"fmt"
	"iter"

	"github.com/xentape/xentape/format"
)

// Disk writes a disk as it stood after the effects given (replay.Effects): its base,
// then every request in order. size is the disk's length in bytes.
func Disk(f File, size uint64, base format.Image, effects iter.Seq2[format.Record, error]) (losses []string, err error) {
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	if base == nil {
		losses = append(losses, "the tape holds no base image: what was never written during the recording reads as zeros")
	} else {
		var missing uint64
		for _, e := range base.Extents() {
			n, err := copyPages(f, int64(e.Start)*format.PageSize, base, e)
			if err != nil {
				return nil, err
			}
			missing += n
		}
		losses = append(losses, missingLoss(missing, "the base image")...)
	}
	var noData, damaged uint64
	var old stale
	for rec, err := range effects {
		if err != nil {
			damaged++
			continue
		}
		if g, ok := rec.(*format.Gap); ok {
			old.gap(g, size)
		}
		r, ok := rec.(*format.DiskRequest)
		if !ok {
			continue
		}
		if r.Offset > size || r.Length > size-r.Offset {
			return losses, fmt.Errorf("record %d: offset %d length %d: beyond the disk's %d bytes", r.Seq, r.Offset, r.Length, size)
		}
		switch {
		case r.Op == format.DiskWriteZeroes, r.Op == format.DiskDiscard, r.Op == format.DiskSecureErase:
			err = zero(f, r.Offset, r.Length)
		case r.Op != format.DiskWrite:
		case r.Flags&format.DiskNoData != 0:
			noData += r.Length
		default:
			_, err = f.WriteAt(r.Data, int64(r.Offset))
		}
		if err != nil {
			return losses, err
		}
		old.known(r.Offset, r.Length)
	}
	losses = append(losses, old.loss()...)
	if noData > 0 {
		losses = append(losses, fmt.Sprintf("%d bytes were written by the guest without their content being captured", noData))
	}
	if damaged > 0 {
		losses = append(losses, fmt.Sprintf("the tape is damaged in %d places: writes may be missing", damaged))
	}
	// A disk whose size is no multiple of a page ends inside its last page.
	return losses, f.Truncate(int64(size))
}

// zero overwrites a range with zeros. A discarded range reads as zeros on the
// devices that say so (discard_zeroes_data); where a device keeps old content,
// nothing in the guest may rely on it.
func zero(f File, off, n uint64) error {
	buf := make([]byte, min(n, copyBatch))
	for n > 0 {
		k := min(n, uint64(len(buf)))
		if _, err := f.WriteAt(buf[:k], int64(off)); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}
