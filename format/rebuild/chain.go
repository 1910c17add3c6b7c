package rebuild

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/xentape/xentape/format"
)

// Chain writes a disk as it stood at tape time until of the last of several tapes, each
// of which goes on where the one before ended. What is before the last tape with an
// image of its own is not needed. Where none has one, f holds what the disk held at
// the end of the tape that before names; "" when that is not known.
func Chain(f DiskFile, before string, tapes []*Disk, until int64) (losses []string, err error) {
	first := 0
	for i, d := range tapes {
		if d.Based() {
			first = i
		}
	}
	w := newDiskWriter(f)
	for i := first; i < len(tapes); i++ {
		d, to := tapes[i], int64(math.MaxInt64)
		if d.Def.Size > maxDisk {
			return nil, fmt.Errorf("%s: %s has %d bytes: more than the %d supported", d.Tape(), d.Def.Name, d.Def.Size, uint64(maxDisk))
		}
		if i == len(tapes)-1 {
			to = until
		}
		if d.Based() || i == first && before == "" {
			err = w.begin(d.Def.Size, d.Base)
		} else {
			if d.Tape() == before {
				w.losses = append(w.losses, fmt.Sprintf("%s: %s was not recorded for a time: what was written meanwhile is not known", before, d.Def.Name))
			} else if before == "" || d.Continues() != before {
				w.losses = append(w.losses, fmt.Sprintf("%s does not go on where %s ended: what was written between them is not known", d.Tape(), before))
			}
			err = w.resize(d.Def.Size)
		}
		if d.Based() && to < d.Copied() {
			w.losses = append(w.losses, fmt.Sprintf("the base image of %s was still being copied at that time: parts of it are of a later one", d.Tape()))
		}
		if err == nil {
			err = w.apply(Effects(d.Records(to)))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Tape(), err)
		}
		before = d.Tape()
	}
	return w.end()
}

// diskWriter writes one disk.
type diskWriter struct {
	f       DiskFile
	size    uint64 // bytes
	old     Stale
	noData  ranges // written without content, and not again since
	unbased ranges // not in the base image, and not written since
	damaged int
	losses  []string
}

func newDiskWriter(f DiskFile) *diskWriter {
	return &diskWriter{f: f, old: NewStale(), noData: ranges{}, unbased: ranges{}}
}

func (w *diskWriter) resize(size uint64) error {
	w.size = size
	return w.f.Truncate(int64(size))
}

// begin writes what the disk held before the first request.
func (w *diskWriter) begin(size uint64, base format.Image) error {
	if err := w.f.Truncate(0); err != nil {
		return err
	}
	if err := w.resize(size); err != nil {
		return err
	}
	if base == nil {
		w.losses = append(w.losses, "the tape holds no base image: what was never written during the recording reads as zeros")
		return nil
	}
	w.unbased.add(0, size)
	var missing uint64
	for _, e := range base.Extents() {
		if pages := size/format.PageSize + 1; e.Start < pages {
			w.unbased.remove(e.Start*format.PageSize, min(e.Count, pages-e.Start)*format.PageSize)
		}
		n, err := CopyPages(w.f, int64(e.Start)*format.PageSize, base, e)
		if err != nil {
			return err
		}
		missing += n
	}
	w.losses = append(w.losses, MissingLoss(missing, "the base image")...)
	return nil
}

func (w *diskWriter) apply(effects iter.Seq2[format.Record, error]) error {
	for rec, err := range effects {
		switch r := rec.(type) {
		case nil:
			w.damaged++
		case *format.Gap:
			w.old.Gap(r, w.size)
		case *format.DiskRequest:
			if err = w.request(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *diskWriter) request(r *format.DiskRequest) (err error) {
	if r.Offset > w.size || r.Length > w.size-r.Offset {
		return fmt.Errorf("record %d: offset %d length %d: beyond the disk's %d bytes", r.Seq, r.Offset, r.Length, w.size)
	}
	w.noData.remove(r.Offset, r.Length)
	w.unbased.remove(r.Offset, r.Length)
	w.old.Known(r.Offset, r.Length)
	switch {
	case r.Op == format.DiskWriteZeroes, r.Op == format.DiskDiscard, r.Op == format.DiskSecureErase:
		err = zero(w.f, r.Offset, r.Length)
	case r.Op != format.DiskWrite:
	case !r.Captured():
		w.noData.add(r.Offset, r.Length)
	default:
		_, err = w.f.WriteAt(r.Data, int64(r.Offset))
	}
	return err
}

// end says what of the disk is not as it was.
func (w *diskWriter) end() ([]string, error) {
	losses := append(w.losses, w.old.Loss()...)
	if n := w.unbased.bytes(); n > 0 {
		losses = append(losses, fmt.Sprintf("%d bytes are not in the base image, and were not written since: they read as zeros", n))
	}
	if n := w.noData.bytes(); n > 0 {
		losses = append(losses, fmt.Sprintf("%d bytes were written by the guest without their content being captured", n))
	}
	if w.damaged > 0 {
		losses = append(losses, fmt.Sprintf("the tape is damaged in %d places: writes may be missing", w.damaged))
	}
	// A disk whose size is no multiple of a page ends inside its last page.
	return losses, w.f.Truncate(int64(w.size))
}

// zero overwrites a range with zeros. A discarded range reads as zeros on the
// devices that say so (discard_zeroes_data); where a device keeps old content,
// nothing in the guest may rely on it.
//
// What is zero already is left alone: a guest discards far more than it ever wrote,
// and a sparse file is to stay sparse.
func zero(f DiskFile, off, n uint64) error {
	held, zeros := make([]byte, min(n, copyBatch)), make([]byte, min(n, copyBatch))
	for n > 0 {
		k := min(n, uint64(len(zeros)))
		got, err := f.ReadAt(held[:k], int64(off))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !bytes.Equal(held[:got], zeros[:got]) {
			if _, err := f.WriteAt(zeros[:got], int64(off)); err != nil {
				return err
			}
		}
		if uint64(got) < k {
			return nil // the file ends here: it is made as long as the disk
		}
		off, n = off+k, n-k
	}
	return nil
}
