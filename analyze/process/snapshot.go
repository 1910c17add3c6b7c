package process

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/replay"
)

// snapshot is what one snapshot told.
type snapshot struct {
	info     replay.MemoryInfo
	number   int
	when     string
	banner   string
	steps    []linux.Step
	counters objects.Counters
	counted  bool
	complete bool       // the lists of processes were read to their ends
	procs    []*Process // live, by pid, then start, then address
	residue  []*Process // exited, the same order
	mismatch []mismatch
	modules  []moduleMismatch
	threads  []threadMismatch
	altered  []alteredPID
	host     *Host
	problems []Problem
}

// mismatch is a live process that a view it must be in does not have.
type mismatch struct {
	p       *Process
	missing []View
	links   []Evidence
}

// maxProblems bounds what is said of one snapshot: a torn or hostile image can
// fail everywhere, and after some the rest adds nothing.
const maxProblems = 100

func (s *snapshot) problem(what string, err error) bool {
	if err == nil {
		return false
	}
	switch n := len(s.problems); {
	case n == maxProblems:
		s.problems = append(s.problems, Problem{Snapshot: s.number, What: "further problems", Reason: fmt.Sprintf("only the first %d are named", maxProblems)})
		return true
	case n > maxProblems:
		return true
	}
	s.problems = append(s.problems, Problem{Snapshot: s.number, What: what, Reason: err.Error()})
	return true
}

// instant says whether all of the snapshot is of one moment, so that a
// difference between two views of it means something.
func (s *snapshot) instant() bool { return s.info.Conditions.Paused && !s.info.Conditions.Fuzzy }

// entry is a task structure some view led to.
type entry struct {
	task  objects.Task
	views map[View]bool
	err   error
}

// lister enumerates the processes of one snapshot by every view.
type lister struct {
	s       *snapshot
	v       *objects.View
	scanner *objects.Scanner
	scanErr error
	at      map[uint64]*entry
	open    map[uint64]*mapped
	broken  map[View]bool // views that could not be read to their end
	residue []objects.Task
	strays  map[uint64]*thread
	owners  map[ownerOf]bool // of files and sockets, not yet followed
	clock   objects.Clock
	clocked bool
}

// maxTasks bounds the processes of one snapshot.
const maxTasks = 1 << 17

// unread: there are members of the lists of processes that could not be read.
func (l *lister) unread() bool {
	for _, e := range l.at {
		if e.err != nil && (e.views[TaskList] || e.views[PIDIndex]) {
			return true
		}
	}
	return false
}

// see notes that a view led to a task structure.
func (l *lister) see(addr uint64, by View) *entry {
	e := l.at[addr]
	if e == nil {
		if len(l.at) >= maxTasks {
			l.attempt(by, string(by), objects.ErrTooMuch)
			return &entry{err: objects.ErrTooMuch, views: map[View]bool{}}
		}
		e = &entry{views: map[View]bool{}}
		e.task, e.err = l.v.Task(addr)
		l.at[addr] = e
	}
	e.views[by] = true
	return e
}

// attempt runs one view and keeps its failure.
func (l *lister) attempt(by View, what string, err error) {
	if l.s.problem(what, err) {
		l.broken[by] = true
	}
}

func (l *lister) list(prev *snapshot) {
	l.attempt(TaskList, "task list", l.v.Processes(func(a uint64) { l.see(a, TaskList) }))
	l.attempt(PIDIndex, "pid index", l.v.PIDs(func(_ int, a uint64) { l.seeThread(a, PIDIndex) }))
	l.children()
	l.attempt(RunQueue, "run queues", l.v.RunQueues(func(a uint64) { l.seeThread(a, RunQueue) }))
	l.addressSpaces()
	l.previous(prev)
	l.scan()
	c, err := l.v.Counters()
	l.s.counters, l.s.counted = c, !l.s.problem("kernel counters", err)
	l.clock, err = l.v.Clock()
	l.clocked = !l.s.problem("guest clock", err)
	l.s.complete = !l.broken[TaskList] && !l.broken[PIDIndex] && !l.unread()
	l.describe()
	l.compareThreads()
	l.listResidue()
	l.host()
	if len(l.s.procs) == 0 {
		l.s.problem("processes", errNone)
	}
}

// describe reads every process found, and those that files and sockets of
// these lead to.
func (l *lister) describe() {
	done := map[*entry]*Process{}
	for more := true; more; {
		more = false
		for _, e := range l.entries() {
			if _, ok := done[e]; ok {
				continue
			}
			done[e], more = nil, true
			switch {
			case e.err != nil:
				l.s.problem("task", e.err)
			case e.task.Leaving() && !e.views[TaskList] && !e.views[PIDIndex]:
				// Taken off the lists, and still on its CPU for the last time.
				l.residue = append(l.residue, e.task)
			case e.task.Plausible():
				done[e] = l.process(e)
			}
		}
		l.followOwners()
	}
	for _, e := range l.entries() {
		p := done[e]
		if p == nil {
			continue
		}
		for _, v := range allViews {
			if e.views[v] {
				p.Views = append(p.Views, v)
			}
		}
		l.s.procs = append(l.s.procs, p)
		l.compare(p, e)
		l.compareNumber(p, e)
	}
	l.s.problem("processes", unread(l.s.procs))
}

// unread says that some processes could not be read wholly; each says of itself
// what it lacks.
func unread(procs []*Process) error {
	n, first := 0, (*Process)(nil)
	for _, p := range procs {
		if p.Incomplete != nil {
			if n++; first == nil {
				first = p
			}
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d could not be read wholly; the first is %d (%s): %s", n, len(procs), first.PID, first.Comm, first.Incomplete[0])
}

// seeThread notes a task by its own structure when it leads its group, and else
// that it names its leader.
func (l *lister) seeThread(a uint64, by View) {
	if e := l.at[a]; e != nil {
		e.views[by] = true
		return
	}
	t, err := l.v.Task(a)
	switch {
	case err != nil:
		l.attempt(by, string(by), err)
	case t.PID == 0: // the idle task of a CPU
	case t.PID == t.TGID:
		l.see(a, by)
	default:
		l.stray(a, t, by)
		l.see(t.Leader, Threads)
	}
}

// children follows the lists of children from every task known, threads
// included, until no more are found.
func (l *lister) children() {
	done := map[uint64]bool{}
	var queue []uint64
	add := func(a uint64) {
		if !done[a] {
			done[a] = true
			queue = append(queue, a)
		}
	}
	if a, ok := l.v.K.Symbol("init_task"); ok {
		add(a)
	}
	for _, e := range l.entries() {
		add(e.task.Addr)
	}
	for len(queue) > 0 {
		a := queue[0]
		queue = queue[1:]
		if e := l.at[a]; e != nil && e.err == nil {
			// A failure here is told by the process's own list of threads.
			_ = l.v.Threads(&e.task, add)
		}
		l.attempt(Children, "children", l.v.Children(a, func(c uint64) {
			if e := l.see(c, Children); e.err == nil {
				add(c)
			}
		}))
	}
}

// previous looks where the snapshot before had live processes: one that is
// still there, has not exited, and is in no list now, was taken off them.
func (l *lister) previous(prev *snapshot) {
	if prev == nil {
		return
	}
	for _, p := range prev.procs {
		a := uint64(p.TaskAddress)
		if e := l.at[a]; e != nil {
			if e.task.PID == p.PID && e.task.Start == p.StartTime {
				e.views[Previous] = true
			}
			continue
		}
		t, c := l.v.Examine(a)
		if c == objects.Alive && t.ExitState == 0 && t.PID == p.PID && t.Start == p.StartTime {
			l.see(a, Previous)
		}
	}
}

// scan searches all of memory for task structures: live ones join the entries,
// exited ones are residue.
func (l *lister) scan() {
	var found []uint64
	err := l.scanErr
	if err == nil {
		found, err = l.scanner.Tasks(l.v)
	}
	l.attempt(Scan, "search for tasks", err)
	listed := map[[2]uint64]bool{}
	for _, e := range l.at {
		listed[[2]uint64{uint64(e.task.PID), e.task.Start}] = true
	}
	for _, a := range found {
		if e := l.at[a]; e != nil {
			e.views[Scan] = true
			continue
		}
		t, c := l.v.Examine(a)
		switch {
		case c == objects.NoTask:
		case t.PID != t.TGID:
			if c == objects.Alive && !listed[[2]uint64{uint64(t.PID), t.Start}] {
				l.stray(a, t, Scan)
			}
		case c == objects.Unknown:
			l.s.problem("search for tasks", fmt.Errorf("task structure at %#x (pid %d, %s) is in no list, and whether it is alive cannot be told: its stack cannot be read", a, t.PID, t.Comm))
		case c == objects.Exited || (c == objects.Alive && t.ExitState != 0):
			l.residue = append(l.residue, t)
		case c == objects.Alive && !listed[[2]uint64{uint64(t.PID), t.Start}]:
			// A structure that shares pid and start with a listed one is the
			// copy fork has just made of it.
			l.see(a, Scan)
		}
	}
}

// entries are all found, by pid, start and address.
func (l *lister) entries() []*entry {
	out := make([]*entry, 0, len(l.at))
	for a, e := range l.at {
		e.task.Addr = a
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int { return compareTasks(&a.task, &b.task) })
	return out
}

// started is a start time by the guest's wall clock.
func (l *lister) started(since uint64) string {
	if !l.clocked {
		return ""
	}
	return rfc3339(l.clock.Boot + int64(since))
}

func (l *lister) listResidue() {
	slices.SortFunc(l.residue, func(a, b objects.Task) int { return compareTasks(&a, &b) })
	for i := range l.residue {
		t := &l.residue[i]
		p := &Process{
			PID: t.PID, Comm: t.Comm, StartTime: t.Start, State: t.State, KernelThread: t.KernelThread,
			TaskAddress: Address(t.Addr), Grade: Residue, Snapshot: l.s.number, ExitCode: t.ExitCode, Views: []View{Scan},
			Started: l.started(t.Start),
		}
		p.empty()
		p.evidence("task_struct", t.Addr, t.Phys)
		// Its parent may be gone too: only one that is known still counts.
		if e := l.at[t.Parent]; e != nil && e.err == nil {
			p.PPID = e.task.TGID
		} else {
			p.Incomplete = append(p.Incomplete, "ppid: the parent's task structure is no longer known")
		}
		l.s.residue = append(l.s.residue, p)
	}
}
