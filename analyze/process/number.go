package process

import (
	"fmt"
	"slices"
)

// alteredPID is a process whose task structure has another number than the
// kernel's index knows it by: what keeps it out of listings that go by the
// structure, and of a guard that compares numbers.
type alteredPID struct {
	p    *Process
	says int // the task structure
	at   Evidence
}

// compareNumber compares the two places a number is kept in.
func (l *lister) compareNumber(p *Process, e *entry) {
	if len(p.NSPID) == 0 || p.PID == e.task.PID || e.task.New || e.task.Leaving() {
		return
	}
	pid := e.task.PIDStruct
	p.Grade = Inconsistent
	l.s.altered = append(l.s.altered, alteredPID{p, e.task.PID, Evidence{"pid", Address(pid), Address(l.v.Locate(pid))}})
}

// judgeNumbers grades them as judge does processes.
func (m *model) judgeNumbers(s, prev *snapshot) {
	for _, x := range s.altered {
		again := prev != nil && slices.ContainsFunc(prev.altered, func(y alteredPID) bool {
			return m.identify(y.p) == m.identify(x.p) && y.says == x.says
		})
		f := &Finding{
			Kind: "pid-mismatch", Grade: Inconsistent, PID: x.p.PID, Comm: x.p.Comm, StartTime: x.p.StartTime, TaskAddress: x.p.TaskAddress,
			Views: x.p.Views, Evidence: append(slices.Clone(x.p.Evidence), x.at),
			Summary: fmt.Sprintf("process %d (%s) calls itself %d in its task structure", x.p.PID, x.p.Comm, x.says),
		}
		if s.instant() || again {
			f.Kind, f.Grade, x.p.Grade = "altered-pid", Hidden, Hidden
		}
		f.add(s)
		m.findings = append(m.findings, f)
	}
}
