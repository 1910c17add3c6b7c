package rebuild

import (
	"fmt"
	"iter"
	"slices"

	"github.com/xentape/xentape/format"
)

// Disk is one virtual disk of the tape.
type Disk struct {
	Def  format.StreamDef
	Base format.Image         // its content before the first request; nil when none was taken
	Info *format.SnapshotInfo // of the base; nil like Base
	r    *format.Reader
	tape string
}

// Disks returns the disks of a tape in the order of their definition. name is the
// tape's, for messages and for Continues.
func Disks(r *format.Reader, name string) ([]*Disk, error) {
	var out []*Disk
	for _, def := range r.Streams() {
		if def.Kind != format.StreamDisk {
			continue
		}
		d := &Disk{Def: def, r: r, tape: name}
		for _, s := range r.Snapshots() {
			if s.Begin.Stream != def.ID || d.Base != nil {
				continue
			}
			img, err := r.Snapshot(s.Begin.ID)
			if err != nil {
				return nil, fmt.Errorf("%s: base of disk %s: %w", name, def.Name, err)
			}
			d.Base, d.Info = img, &s
		}
		out = append(out, d)
	}
	return out, nil
}

// Tape is the name of the tape.
func (d *Disk) Tape() string { return d.tape }

// Continues names the tape that has what the disk held when this one began, and all
// that was written until then; "" when none does. The segments of a flight recorder
// follow one another so: the first has the image, the others what came after.
func (d *Disk) Continues() string { return format.Attribute(d.Def.Attrs, "continues") }

// Sealed says whether the tape was ended, not cut off.
func (d *Disk) Sealed() bool { return d.r.Sealed() }

// Based says whether the tape holds the disk's whole content before the first request.
func (d *Disk) Based() bool { return d.Info != nil && d.Info.End != nil && d.Info.End.Complete }

// Records iterates over everything the tape has of the disk up to and including
// tape time until, in the order it was recorded.
func (d *Disk) Records(until int64) iter.Seq2[format.Record, error] {
	return d.r.Records(format.Query{Streams: []format.StreamID{d.Def.ID}, ToTime: until})
}

// Effects yields the requests that changed the disk in the order in which they took
// effect: each when it completed with success, those of a log that records
// completions at once. Requests still in flight at the end did not take effect. Gaps
// and marks come in their place; a nil record is damage.
func Effects(records iter.Seq2[format.Record, error]) iter.Seq2[format.Record, error] {
	return func(yield func(format.Record, error) bool) {
		flight := map[uint64][]*format.DiskRequest{}
		for r, err := range records {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			switch r := r.(type) {
			case *format.DiskRequest:
				if r.Op == format.DiskRead {
					continue
				}
				if r.Flags&(format.DiskApplied|format.DiskReadback) != 0 {
					if !yield(r, nil) {
						return
					}
					continue
				}
				c := *r
				c.Data = append([]byte(nil), r.Data...)
				flight[r.ID] = append(flight[r.ID], &c)
			case *format.DiskCompletion:
				parts := flight[r.ID]
				delete(flight, r.ID)
				if r.Status != 0 {
					continue
				}
				for _, p := range parts {
					if !yield(p, nil) {
						return
					}
				}
			case *format.Gap, *format.Mark:
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Settled returns the disk as it stood when its base image was complete, and the
// tape time of that. A base is copied while the guest runs: each of its blocks is
// of another moment. With every request that took effect until the copy ended
// applied on top, it is the disk of exactly that moment, and the requests after it
// are what changed since. Without a base, nothing is known and everything counts.
//
// It holds in memory what was written during the copy.
func (d *Disk) Settled() (base format.Image, at int64, err error) {
	if d.Base == nil || d.Info.End == nil || d.Info.End.CopyEnd == 0 || d.Info.End.CopyStart == d.Info.End.CopyEnd {
		return d.Base, 0, nil
	}
	at = d.Info.End.CopyEnd
	p := &patched{base: d.Base, pages: map[uint64][]byte{}}
	for r := range Effects(d.Records(at)) {
		// Damage and gaps: Records of the same range tells them to whoever reads on.
		if q, ok := r.(*format.DiskRequest); ok {
			if err := p.apply(q); err != nil {
				return nil, 0, fmt.Errorf("disk %s: record %d: %w", d.Def.Name, q.Seq, err)
			}
		}
	}
	if len(p.pages) == 0 {
		return d.Base, at, nil
	}
	return p, at, nil
}

// patched is an image with some of its pages replaced.
type patched struct {
	base  format.Image
	pages map[uint64][]byte
}

func (p *patched) apply(r *format.DiskRequest) error {
	data := r.Data
	switch r.Op {
	case format.DiskWriteZeroes, format.DiskDiscard, format.DiskSecureErase:
		data = nil
	case format.DiskWrite:
		if r.Flags&format.DiskNoData != 0 {
			return nil
		}
	default:
		return nil
	}
	for off, left := r.Offset, r.Length; left > 0; {
		n, in := off/format.PageSize, off%format.PageSize
		k := min(left, format.PageSize-in)
		page := p.pages[n]
		if page == nil {
			page = make([]byte, format.PageSize)
			if _, err := p.base.ReadPage(n, page); err != nil && k < format.PageSize {
				return err
			}
			p.pages[n] = page
		}
		if data == nil {
			clear(page[in : in+k])
		} else {
			copy(page[in:in+k], data)
			data = data[k:]
		}
		off, left = off+k, left-k
	}
	return nil
}

// Extents implements format.Image.
func (p *patched) Extents() []format.Extent {
	set := make([]uint64, 0, len(p.pages))
	for n := range p.pages {
		set = append(set, n)
	}
	slices.Sort(set)
	return mergeExtents(p.base.Extents(), set)
}

// mergeExtents adds single pages, ascending, to ascending extents.
func mergeExtents(es []format.Extent, pages []uint64) []format.Extent {
	var out []format.Extent
	add := func(start, count uint64) {
		if k := len(out); k > 0 && out[k-1].Start+out[k-1].Count >= start {
			if end := start + count; end > out[k-1].Start+out[k-1].Count {
				out[k-1].Count = end - out[k-1].Start
			}
			return
		}
		out = append(out, format.Extent{Start: start, Count: count})
	}
	for len(es) > 0 || len(pages) > 0 {
		if len(pages) == 0 || len(es) > 0 && es[0].Start <= pages[0] {
			add(es[0].Start, es[0].Count)
			es = es[1:]
		} else {
			add(pages[0], 1)
			pages = pages[1:]
		}
	}
	return out
}

// ReadPage implements format.Image.
func (p *patched) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	if page, ok := p.pages[n]; ok {
		copy(dst, page)
		return format.PageData, nil
	}
	return p.base.ReadPage(n, dst)
}
