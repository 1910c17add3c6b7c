package process

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
)

// thread is a task that does not lead its group, as views other than its
// group's own list lead to it.
type thread struct {
	task  objects.Task
	views []View
}

// threadMismatch is a live thread that its process does not list.
type threadMismatch struct {
	Thread
	pid   int
	views []View
	at    Evidence
}

// stray notes a thread that a view led to.
func (l *lister) stray(a uint64, t objects.Task, by View) {
	x := l.strays[a]
	if x == nil {
		if len(l.strays) >= maxTasks {
			l.attempt(by, string(by), objects.ErrTooMuch)
			return
		}
		x = &thread{task: t}
		l.strays[a] = x
	}
	if !slices.Contains(x.views, by) {
		x.views = append(x.views, by)
	}
}

// compareThreads finds threads that are alive, belong to a process that is
// listed, and are missing from its list of threads.
func (l *lister) compareThreads() {
	listed := map[uint64]bool{}
	whole := map[int]bool{} // processes whose list was read to its end
	for _, p := range l.s.procs {
		whole[p.PID] = len(p.ThreadList) > 0 && !p.torn
		for _, t := range p.ThreadList {
			listed[uint64(t.TaskAddress)] = true
		}
	}
	for a, x := range l.strays {
		if t := &x.task; !listed[a] && whole[t.TGID] && t.ExitState == 0 {
			l.s.threads = append(l.s.threads, threadMismatch{
				Thread: Thread{TID: t.PID, Comm: t.Comm, State: t.State, StartTime: t.Start, TaskAddress: Address(a)},
				pid:    t.TGID, views: x.views, at: Evidence{"task_struct", Address(a), Address(t.Phys)},
			})
		}
	}
	slices.SortFunc(l.s.threads, func(a, b threadMismatch) int {
		return cmp.Or(cmp.Compare(a.TID, b.TID), cmp.Compare(a.TaskAddress, b.TaskAddress))
	})
}

// judgeThreads grades them as judge does processes.
func (m *model) judgeThreads(s, prev *snapshot) {
	for _, x := range s.threads {
		again := prev != nil && slices.ContainsFunc(prev.threads, func(y threadMismatch) bool {
			return y.TaskAddress == x.TaskAddress && y.StartTime == x.StartTime
		})
		f := &Finding{
			Kind: "thread-mismatch", Grade: Inconsistent, PID: x.pid, Comm: x.Comm, StartTime: x.StartTime, TaskAddress: x.TaskAddress,
			Views: x.views, Missing: []View{ThreadGroup}, Evidence: []Evidence{x.at},
			Summary: fmt.Sprintf("thread %d (%s) of process %d is alive and missing from its list of threads; listed by %s", x.TID, x.Comm, x.pid, join(x.views)),
		}
		if s.instant() || again {
			f.Kind, f.Grade = "hidden-thread", Hidden
		}
		f.add(s)
		m.findings = append(m.findings, f)
	}
}
