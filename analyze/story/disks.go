package story

import "github.com/xentape/xentape/analyze/files"

// FileEvents lists the changes on all disks, disk by disk, in the order in which
// they became known.
func (e *Engine) FileEvents() []files.Event {
	var all []files.Event
	for _, id := range e.order {
		all = append(all, e.disks[id].events...)
	}
	return all
}

// Disk is one disk of the tape as it was followed.
type Disk struct {
	Name   string
	State  *files.Tree // as it stands at the end of what was fed
	Events []files.Event
}

// Disks lists the disks that could be followed.
func (e *Engine) Disks() []Disk {
	var all []Disk
	for _, id := range e.order {
		d := e.disks[id]
		all = append(all, Disk{Name: d.name, State: d.a.State(), Events: d.events})
	}
	return all
}
