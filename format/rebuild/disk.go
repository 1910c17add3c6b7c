package rebuild

import (
	"fmt"
	"iter"

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
// and marks come in their place; a nil record is damage. A request that waits longer
// for its completion than Pending holds it comes with format.DiskNoData set.
func Effects(records iter.Seq2[format.Record, error]) iter.Seq2[format.Record, error] {
	return func(yield func(format.Record, error) bool) {
		var flight Pending
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
				for _, p := range flight.Add(r) {
					if !yield(p, nil) {
						return
					}
				}
			case *format.DiskCompletion:
				parts := flight.Take(r.ID)
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

// Copied is the tape time at which the copy of the base image ended: the disk as it
// stood then is the base with every request on top that took effect until then. 0 when
// the base is of one moment, was never finished, or there is none.
func (d *Disk) Copied() int64 {
	if d.Info == nil || d.Info.End == nil || d.Info.End.CopyStart == d.Info.End.CopyEnd {
		return 0
	}
	return d.Info.End.CopyEnd
}
