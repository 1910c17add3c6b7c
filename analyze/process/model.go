package process

import (
	"cmp"
	"slices"
)

// bootID tells boots of a guest apart: the first processes start at other
// nanoseconds and addresses.
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
	byID map[identity]*Process
	boot int
}

func newModel() model { return model{byID: map[identity]*Process{}} }

// take adds a snapshot.
func (m *model) take(s *snapshot) {
	for _, p := range s.procs {
		id := identity{m.boot, p.PID, p.StartTime, p.TaskAddress}
		p.FirstSnapshot, p.FirstSeen = s.number, s.when
		if old := m.byID[id]; old != nil {
			p.FirstSnapshot, p.FirstSeen = old.FirstSnapshot, old.FirstSeen
		}
		p.LastSnapshot, p.LastSeen = s.number, s.when
		m.byID[id] = p
	}
}

// Processes is one record for each process over all snapshots fed, by start
// time, then pid.
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

// At is the processes as they stood at a snapshot, by pid; nil when the
// snapshot was not fed.
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
