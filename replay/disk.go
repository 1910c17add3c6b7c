package replay

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
)

// Disk is one virtual disk of the tape.
type Disk = rebuild.Disk

// Disks returns the disks of the tape in the order of their definition. A disk that was
// recorded anew is there again, under its name: its guest was built anew, it was
// detached and attached, or nothing was recorded for a time.
func (t *Tape) Disks() ([]*Disk, error) { return rebuild.Disks(t.r, t.Name) }

// DiskOf returns the disk of a stream.
func (t *Tape) DiskOf(id format.StreamID) (*Disk, error) {
	all, err := t.Disks()
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.Def.ID == id {
			return d, nil
		}
	}
	return nil, fmt.Errorf("%s: stream %d is no disk", t.Name, id)
}

// DisksNamed returns the disk a user names, as often as it was recorded until a moment,
// and at least once.
func (t *Tape) DisksNamed(name string, until Moment) ([]*Disk, error) {
	all, err := t.Disks()
	if err != nil {
		return nil, err
	}
	var found []*Disk
	var names []string
	for _, d := range all {
		if d.Def.Name == name && (len(found) == 0 || d.Def.Time <= until.Time) {
			found = append(found, d)
		}
		if !slices.Contains(names, d.Def.Name) {
			names = append(names, d.Def.Name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: the tape holds no disk", t.Name)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no disk %q: the tape has %q", t.Name, name, names)
	}
	return found, nil
}

// DiskAt returns the disk a user names as it was recorded at a moment.
func (t *Tape) DiskAt(name string, m Moment) (*Disk, error) {
	found, err := t.DisksNamed(name, m)
	if err != nil {
		return nil, err
	}
	return found[len(found)-1], nil
}
