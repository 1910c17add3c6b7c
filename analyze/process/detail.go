package process

import (
	"cmp"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
)

func compareTasks(a, b *objects.Task) int {
	return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Addr, b.Addr))
}

// process reads everything about one process. What cannot be read is named in
// Incomplete and left empty, never guessed.
func (l *lister) process(e *entry) *Process {
	t := &e.task
	p := &Process{
		PID: t.PID, PPID: t.PPID, Comm: t.Comm, StartTime: t.Start, State: t.State,
		KernelThread: t.KernelThread, TaskAddress: Address(t.Addr), Grade: Seen,
		Snapshot: l.s.number, ExitCode: t.ExitCode,
	}
	for _, v := range []View{TaskList, PIDIndex, Children, Scan, Threads, RunQueue, Previous} {
		if e.views[v] {
			p.Views = append(p.Views, v)
		}
	}
	p.evidence("task_struct", t.Addr, t.Phys)
	l.credentials(p, t)
	l.threads(p, t)
	return p
}

func (p *Process) evidence(object string, va, pa uint64) {
	p.Evidence = append(p.Evidence, Evidence{object, Address(va), Address(pa)})
}

func (p *Process) incomplete(what string, err error) {
	if err != nil {
		p.Incomplete = append(p.Incomplete, what+": "+err.Error())
	}
}

func (l *lister) credentials(p *Process, t *objects.Task) {
	c, err := l.v.Credentials(t)
	if err != nil {
		p.incomplete("credentials", err)
		return
	}
	p.UID, p.GID = c.UID, c.GID
	p.Credentials = &Credentials{
		UID: [4]uint32{c.UID, c.EUID, c.SUID, c.FSUID}, GID: [4]uint32{c.GID, c.EGID, c.SGID, c.FSGID},
		Effective: Address(c.Effective), Permitted: Address(c.Permitted), Inheritable: Address(c.Inheritable),
		Bounding: Address(c.Bounding), Ambient: Address(c.Ambient), UserNS: c.UserNS,
	}
	p.evidence("cred", t.Cred, l.v.Locate(t.Cred))
}

func (l *lister) threads(p *Process, t *objects.Task) {
	n, err := l.v.ThreadCount(t)
	p.incomplete("thread count", err)
	p.Threads = n
	err = l.v.Threads(t, func(a uint64) {
		th, err := l.v.Task(a)
		if err != nil {
			p.incomplete("thread", err)
			return
		}
		p.ThreadList = append(p.ThreadList, Thread{TID: th.PID, Comm: th.Comm, State: th.State, TaskAddress: Address(a)})
	})
	p.incomplete("threads", err)
	slices.SortFunc(p.ThreadList, func(a, b Thread) int { return cmp.Compare(a.TID, b.TID) })
}
