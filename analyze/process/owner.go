package process

import (
	"cmp"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
)

// ownerOf is a process as an object of another one names it.
type ownerOf struct {
	pid uint64 // its struct pid
	by  View
}

// owner notes that an open file or socket names a process.
func (l *lister) owner(pid uint64, by View) {
	if pid != 0 && len(l.owners) < maxTasks {
		l.owners[ownerOf{pid, by}] = true
	}
}

// followOwners looks up who was named. One that has gone is no failure: what it
// made lives on.
func (l *lister) followOwners() {
	for _, o := range slices.SortedFunc(maps.Keys(l.owners), func(a, b ownerOf) int {
		return cmp.Or(cmp.Compare(a.pid, b.pid), cmp.Compare(a.by, b.by))
	}) {
		task, err := l.v.TaskOf(o.pid)
		if err != nil {
			l.attempt(o.by, string(o.by), err)
		} else if task != 0 {
			l.seeAlive(task, o.by)
		}
	}
	clear(l.owners)
}

// addressSpaces notes the owners of all address spaces.
func (l *lister) addressSpaces() {
	err := l.v.AddressSpaces(func(a uint64) { l.seeAlive(a, AddrSpace) })
	if !objects.NoOwners(err) {
		l.attempt(AddrSpace, "address spaces", err)
	}
}

// seeAlive notes a task that something else than a list of tasks led to, when
// it is one and has not exited.
func (l *lister) seeAlive(a uint64, by View) {
	if e := l.at[a]; e != nil {
		e.views[by] = true
		return
	}
	if t, c := l.v.Examine(a); c == objects.Alive && t.ExitState == 0 {
		l.seeThread(a, by)
	}
}
