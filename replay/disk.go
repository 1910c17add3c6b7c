package replay

import (
	"fmt"

	"github.com/xentape/xentape/format/rebuild"
)

// Disk is one virtual disk of the tape.
type Disk = rebuild.Disk

// Disks returns the disks of the tape in the order of their definition.
func (t *Tape) Disks() ([]*Disk, error) { return rebuild.Disks(t.r, t.Name) }

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
