package process

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var errNone = errors.New("not one could be listed")

// required are the views every live process is in.
var required = []View{TaskList, PIDIndex, Children, Scan}

// compare notes which views miss a process that others have. A view that could
// not be read to its end misses nothing.
func (l *lister) compare(p *Process, e *entry) {
	if e.task.New || e.task.Leaving() {
		return // on its way in or out: the kernel adds and removes one list at a time
	}
	var missing []View
	for _, v := range required {
		if !e.views[v] && !l.broken[v] {
			missing = append(missing, v)
		}
	}
	if missing == nil || slices.Equal(missing, []View{Scan}) && l.broken[Scan] {
		return
	}
	p.Grade = Inconsistent
	l.s.mismatch = append(l.s.mismatch, mismatch{p: p, missing: missing, links: l.links(p)})
}

// links reads the list pointers of a process: evidence of how it was taken out.
func (l *lister) links(p *Process) []Evidence {
	o := l.v.K.At(uint64(p.TaskAddress), "task_struct")
	var out []Evidence
	for _, f := range []string{"tasks.next", "tasks.prev", "sibling.next", "sibling.prev"} {
		v := o.Ptr(f)
		if o.Err() != nil {
			return out
		}
		out = append(out, Evidence{Object: "task_struct." + f, Virtual: Address(v), Physical: Address(l.v.Locate(v))})
	}
	return out
}

// Finding is something that should not be.
type Finding struct {
	Kind        string      `json:"kind"` // hidden-process, hidden-thread, hidden-module, altered-pid; view-mismatch, thread-mismatch, module-mismatch, pid-mismatch, task-count
	Grade       Grade       `json:"grade"`
	Summary     string      `json:"summary"`
	PID         int         `json:"pid,omitempty"`
	Comm        string      `json:"comm,omitempty"`
	StartTime   uint64      `json:"start_time,omitempty"`
	TaskAddress Address     `json:"task_address,omitempty"`
	Module      string      `json:"module,omitempty"`
	Views       []View      `json:"views,omitempty"`
	Missing     []View      `json:"missing,omitempty"`
	Snapshots   []int       `json:"snapshots"` // that show it
	Records     [][2]uint64 `json:"records"`   // first and last record of each
	Evidence    []Evidence  `json:"evidence"`
}

// judge grades the mismatches of a snapshot. In one of a single instant a
// process that is alive and missing from a list is hidden. In a copy made while
// the guest ran, the parts of a list are of different moments: there it is
// hidden only when the snapshot before showed the same.
func (m *model) judge(s, prev *snapshot) {
	for i := range s.mismatch {
		x := &s.mismatch[i]
		id := m.identify(x.p)
		again := prev != nil && slices.ContainsFunc(prev.mismatch, func(y mismatch) bool {
			return m.identify(y.p) == id && slices.Equal(x.missing, y.missing)
		})
		kind := "view-mismatch"
		if onlyScan := slices.Equal(x.missing, []View{Scan}); !onlyScan && (s.instant() || again) {
			x.p.Grade, kind = Hidden, "hidden-process"
		}
		f := m.mismatches[id]
		if f == nil {
			f = &Finding{PID: x.p.PID, Comm: x.p.Comm, StartTime: x.p.StartTime, TaskAddress: x.p.TaskAddress}
			m.mismatches[id] = f
			m.findings = append(m.findings, f)
		}
		if f.Grade != Hidden {
			f.Kind, f.Grade = kind, x.p.Grade
		}
		f.Views, f.Missing = x.p.Views, x.missing
		f.Evidence = append(slices.Clone(x.p.Evidence), x.links...)
		f.add(s)
		f.Summary = fmt.Sprintf("process %d (%s) is alive and missing from %s; listed by %s", x.p.PID, x.p.Comm, join(x.missing), join(x.p.Views))
		if f.Grade == Inconsistent {
			f.Summary += "; the snapshot is not of one instant, so this may be an artefact of the copy"
			if s.instant() {
				f.Summary = fmt.Sprintf("process %d (%s) is listed and its task structure was not found by search", x.p.PID, x.p.Comm)
			}
		}
	}
	m.judgeNumbers(s, prev)
	m.judgeThreads(s, prev)
	m.judgeModules(s, prev)
	m.count(s)
}

// count compares how many tasks the kernel says it has with how many are listed,
// where all that are listed could be read.
func (m *model) count(s *snapshot) {
	if !s.counted || !s.complete || !s.instant() {
		return
	}
	n := 0
	for _, p := range s.procs {
		if slices.Contains(p.Views, TaskList) || slices.Contains(p.Views, PIDIndex) {
			if p.torn {
				return
			}
			n += len(p.ThreadList)
		}
	}
	// A fork or exit under way when the guest stopped makes one off; each CPU
	// can be in one.
	if d := s.counters.Threads - n; d > 1 || d < -1 {
		f := &Finding{
			Kind: "task-count", Grade: Inconsistent,
			Summary: fmt.Sprintf("the kernel counts %d tasks, its lists have %d", s.counters.Threads, n),
		}
		f.add(s)
		m.findings = append(m.findings, f)
	}
}

func (f *Finding) add(s *snapshot) {
	f.Snapshots = append(f.Snapshots, s.number)
	f.Records = append(f.Records, [2]uint64{s.info.First, s.info.Last})
}

func join(v []View) string {
	var s []string
	for _, x := range v {
		s = append(s, string(x))
	}
	return strings.Join(s, ", ")
}

// Findings are the disagreements between the kernel's accounts over all
// snapshots fed, in the order they were first seen.
func (a *Analyzer) Findings() []Finding {
	out := make([]Finding, 0, len(a.model.findings))
	for _, f := range a.model.findings {
		out = append(out, *f)
	}
	return out
}
