package replay

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
	tape *Tape
}

// Disks returns the disks of the tape in the order of their definition.
func (t *Tape) Disks() ([]*Disk, error) {
	var out []*Disk
	for _, def := range t.Streams(format.StreamDisk) {
		d := &Disk{Def: def, tape: t}
		for _, s := range t.r.Snapshots() {
			if s.Begin.Stream != def.ID || d.Base != nil {
				continue
			}
			img, err := t.r.Snapshot(s.Begin.ID)
			if err != nil {
				return nil, fmt.Errorf("%s: base of disk %s: %w", t.Name, def.Name, err)
			}
			d.Base, d.Info = img, &s
		}
		out = append(out, d)
	}
	return out, nil
}

// Disk returns the disk a user names. An empty name is the only disk.
func (t *Tape) Disk(name string) (*Disk, error) {
	all, err := t.Disks()
	if err != nil {
		return nil, err
	}
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, d := range all {
		if d.Def.Name == name {
			return d, nil
		}
		names = append(names, d.Def.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: the tape holds no disk", t.Name)
	}
	return nil, fmt.Errorf("%s: no disk %q: the tape has %q", t.Name, name, names)
}

// Records iterates over everything the tape has of the disk up to and including
// tape time until, in the order it was recorded.
func (d *Disk) Records(until int64) iter.Seq2[format.Record, error] {
	return d.tape.r.Records(format.Query{Streams: []format.StreamID{d.Def.ID}, ToTime: until})
}

// Applied yields the requests that changed the disk in the order in which they
// took effect: each when it completed with success, those of a log that records
// completions at once. Requests still in flight at the end did not take effect.
func Applied(records iter.Seq2[format.Record, error]) iter.Seq2[*format.DiskRequest, error] {
	return func(yield func(*format.DiskRequest, error) bool) {
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
			}
		}
	}
}
