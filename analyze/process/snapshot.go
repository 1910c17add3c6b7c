package process

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// snapshot is what one snapshot told.
type snapshot struct {
	info     replay.MemoryInfo
	number   int
	when     string
	steps    []linux.Step
	changed  []format.Extent
	delta    bool
	counters objects.Counters
	counted  bool
	procs    []*Process // by pid, then start, then address
	problems []Problem
}

func (s *snapshot) problem(what string, err error) {
	if err != nil {
		s.problems = append(s.problems, Problem{Snapshot: s.number, What: what, Reason: err.Error()})
	}
}

// entry is a task structure some view led to.
type entry struct {
	task  objects.Task
	views map[View]bool
	err   error
}

// lister enumerates the processes of one snapshot by every view.
type lister struct {
	s    *snapshot
	v    *objects.View
	at   map[uint64]*entry
	open map[uint64]objects.File
}

// see notes that a view led to a task structure.
func (l *lister) see(addr uint64, by View) *entry {
	e := l.at[addr]
	if e == nil {
		e = &entry{views: map[View]bool{}}
		e.task, e.err = l.v.Task(addr)
		l.at[addr] = e
	}
	e.views[by] = true
	return e
}

func (l *lister) list() {
	l.s.problem("task list", l.v.Processes(func(a uint64) { l.see(a, TaskList) }))
	l.s.problem("pid index", l.v.PIDs(func(_ int, a uint64) { l.seeThread(a, PIDIndex) }))
	c, err := l.v.Counters()
	l.s.problem("kernel counters", err)
	l.s.counters, l.s.counted = c, err == nil
	for _, e := range l.entries() {
		if e.err != nil {
			l.s.problem("task", e.err)
			continue
		}
		if e.task.Plausible() {
			l.s.procs = append(l.s.procs, l.process(e))
		}
	}
}

// seeThread notes a task by its own structure and, when it is not a leader, that
// it names one.
func (l *lister) seeThread(a uint64, by View) {
	t, err := l.v.Task(a)
	switch {
	case err != nil:
		l.s.problem(string(by), err)
	case t.PID == t.TGID:
		l.see(a, by)
	default:
		l.see(t.Leader, Threads)
	}
}

// entries are all found, by pid, start and address.
func (l *lister) entries() []*entry {
	out := make([]*entry, 0, len(l.at))
	for _, e := range l.at {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int { return compareTasks(&a.task, &b.task) })
	return out
}
