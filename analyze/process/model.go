package process

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// bootID tells boots of a guest apart: the first process starts at another
// nanosecond or address.
type bootID struct {
	start uint64
	task  Address
}

// identity is what a process is over time; a pid alone is used again.
type identity struct {
	boot  int
	pid   int
	start uint64
	task  Address
}

// model is one record a process, over all snapshots.
type model struct {
	byID       map[identity]*Process
	boot       int
	id         bootID
	prev       *snapshot // the last one of this boot that could be read
	intervals  []Interval
	mismatches map[identity]*Finding
	findings   []*Finding
}

func newModel() model {
	return model{byID: map[identity]*Process{}, mismatches: map[identity]*Finding{}}
}

func (m *model) identify(p *Process) identity {
	return identity{m.boot, p.PID, p.StartTime, p.TaskAddress}
}

// Interval is what happened between two snapshots of one boot.
type Interval struct {
	From   int    `json:"from"`
	To     int    `json:"to"`
	Forks  uint64 `json:"forks"`  // tasks the kernel made, threads too
	Births int    `json:"births"` // of them, tasks that the second snapshot shows
	Deaths int    `json:"deaths"` // processes of the first that the second does not have
	Unseen *int64 `json:"born_and_gone_unseen"`
	Note   string `json:"note,omitempty"`
}

// take adds a snapshot.
func (m *model) take(s *snapshot) {
	m.enter(s)
	before := map[identity]*Process{}
	if m.prev != nil {
		for _, p := range m.prev.procs {
			before[m.identify(p)] = p
		}
	}
	m.judge(s, m.prev)
	now := map[identity]bool{}
	for _, p := range s.procs {
		now[m.identify(p)] = true
		m.merge(s, p)
	}
	for _, p := range s.residue {
		if old := m.byID[m.identify(p)]; old == nil {
			m.keepResidue(s, p)
		}
	}
	deaths := 0
	for id := range before {
		if !now[id] && s.complete {
			deaths++
			m.byID[id].exited(s)
		}
	}
	if m.prev != nil {
		m.intervals = append(m.intervals, m.interval(s, deaths))
	}
	m.prev = s
}

// enter starts another boot when the first process is another one.
func (m *model) enter(s *snapshot) {
	i := slices.IndexFunc(s.procs, func(p *Process) bool { return p.PID == 1 })
	if i < 0 {
		return
	}
	id := bootID{s.procs[i].StartTime, s.procs[i].TaskAddress}
	if m.id == (bootID{}) {
		m.id = id
	}
	if id == m.id {
		return
	}
	for pid, p := range m.byID {
		if pid.boot == m.boot && p.ExitSnapshot == 0 {
			p.exited(s)
		}
	}
	m.id, m.boot, m.prev = id, m.boot+1, nil
}

func (p *Process) exited(s *snapshot) { p.ExitSnapshot, p.ExitSeen = s.number, s.when }

// merge joins a process with what is known of it.
func (m *model) merge(s *snapshot, p *Process) {
	p.FirstSnapshot, p.FirstSeen = s.number, s.when
	p.LastSnapshot, p.LastSeen = s.number, s.when
	id := m.identify(p)
	if old := m.byID[id]; old != nil {
		p.FirstSnapshot, p.FirstSeen = old.FirstSnapshot, old.FirstSeen
		p.Changes = append(slices.Clip(old.Changes), differences(s.number, old, p)...)
		p.share(old)
	}
	m.byID[id] = p
}

func (m *model) keepResidue(s *snapshot, p *Process) {
	p.FirstSnapshot, p.FirstSeen = s.number, s.when
	p.LastSnapshot, p.LastSeen = s.number, s.when
	p.exited(s)
	m.byID[m.identify(p)] = p
}

// differences are the changes that tell a story: a new parent, other
// credentials, another program.
func differences(n int, a, b *Process) []Change {
	var out []Change
	add := func(field, from, to string) {
		if from != to {
			out = append(out, Change{n, field, from, to})
		}
	}
	add("ppid", fmt.Sprint(a.PPID), fmt.Sprint(b.PPID))
	if b.State == "Z" || b.State == "X" { // it has given everything back
		add("state", a.State, b.State)
		return out
	}
	add("comm", a.Comm, b.Comm)
	add("exe", a.Exe, b.Exe)
	add("args", strings.Join(a.Args, " "), strings.Join(b.Args, " "))
	add("cwd", a.Cwd, b.Cwd)
	add("root", a.Root, b.Root)
	if a.Credentials != nil && b.Credentials != nil {
		add("uid", fmt.Sprint(a.Credentials.UID), fmt.Sprint(b.Credentials.UID))
		add("gid", fmt.Sprint(a.Credentials.GID), fmt.Sprint(b.Credentials.GID))
		add("cap_effective", fmt.Sprintf("%#x", uint64(a.Credentials.Effective)), fmt.Sprintf("%#x", uint64(b.Credentials.Effective)))
	}
	add("container", a.Container, b.Container)
	add("namespaces", fmt.Sprint(a.Namespaces), fmt.Sprint(b.Namespaces))
	return out
}

// interval accounts for what was born: the kernel's count of forks less the
// tasks that can be seen is how many came and went unseen.
func (m *model) interval(s *snapshot, deaths int) Interval {
	in := Interval{From: m.prev.number, To: s.number, Deaths: deaths}
	type task struct {
		tid   int
		start uint64
		at    Address
	}
	had := map[task]bool{}
	for _, p := range m.prev.procs {
		for _, t := range p.ThreadList {
			had[task{t.TID, t.StartTime, t.TaskAddress}] = true
		}
	}
	for _, p := range s.procs {
		for _, t := range p.ThreadList {
			if !had[task{t.TID, t.StartTime, t.TaskAddress}] {
				in.Births++
			}
		}
	}
	switch {
	case !s.counted || !m.prev.counted:
		in.Note = "the kernel's count of forks could not be read"
	case s.counters.Forks < m.prev.counters.Forks:
		in.Note = "the kernel's count of forks went backwards"
	default:
		in.Forks = s.counters.Forks - m.prev.counters.Forks
		n := int64(in.Forks) - int64(in.Births)
		if n < 0 {
			in.Note = "fewer forks than births: the snapshots are not of one instant each"
			n = 0
		}
		in.Unseen = &n
	}
	return in
}

// Processes is one record for each process over all snapshots fed, residue
// included, in the order they were first seen, then by pid.
func (a *Analyzer) Processes() []Process {
	out := make([]Process, 0, len(a.model.byID))
	for _, p := range a.model.byID {
		out = append(out, *p)
	}
	slices.SortFunc(out, compareProcesses)
	return out
}

func compareProcesses(a, b Process) int {
	return cmp.Or(cmp.Compare(a.FirstSnapshot, b.FirstSnapshot), cmp.Compare(a.PID, b.PID), cmp.Compare(a.StartTime, b.StartTime), cmp.Compare(a.TaskAddress, b.TaskAddress))
}

// At is the processes alive at a snapshot, as they stood, by pid; nil when it
// was not fed or could not be read.
func (a *Analyzer) At(snapshot int) []Process {
	for _, s := range a.snaps {
		if s.number == snapshot {
			out := make([]Process, 0, len(s.procs))
			for _, p := range s.procs {
				out = append(out, *p)
			}
			return out
		}
	}
	return nil
}
