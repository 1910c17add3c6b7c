package story

import (
	"fmt"
	"path"
	"strings"

	"github.com/xentape/xentape/analyze/internal/sigma"
	"github.com/xentape/xentape/analyze/process"
)

// processEvidence is where a process was read from.
func (j *joiner) processEvidence(p *process.Process, snap int) []Evidence {
	s := j.snapshot(snap)
	if s == nil {
		return nil
	}
	return []Evidence{{Stream: "memory", Records: []uint64{s.First, s.Last},
		Detail: fmt.Sprintf("snapshot #%d: task_struct of pid %d at %#x", snap, p.PID, uint64(p.TaskAddress))}}
}

// startTime is the wall-clock time a process began at, by the guest's boot clock;
// without it, the first snapshot that shows the process bounds it from above.
func (j *joiner) startTime(p *process.Process) (at, upper int64, basis string) {
	if j.in.Boot != 0 {
		return j.in.Boot + int64(p.StartTime), 0, "boottime"
	}
	if s := j.snapshot(p.FirstSnapshot); s != nil {
		return s.Realtime, 0, "snapshot"
	}
	return 0, 0, ""
}

func (j *joiner) processes(s *Story, rules []*sigma.Rule) {
	for i := range j.in.Processes {
		p := &j.in.Processes[i]
		parent := j.parent(p)
		at, upper, basis := j.startTime(p)
		base := Item{key: identify(p).String(), at: at, upper: upper, TimeBasis: basis, rank: rankProcess, Kind: KindProcess, Process: newOwner(p, Exact), proc: identify(p)}
		if p.Grade == process.Residue {
			n := j.snapshot(p.FirstSnapshot)
			base.upper, base.Process = n.Realtime, newOwner(p, Inferred)
			base.Summary = fmt.Sprintf("process %d: %s, uid %d, had ended by snapshot #%d: what is left of it in freed memory", p.PID, describe(p), p.UID, n.Number)
			base.Evidence = j.processEvidence(p, p.FirstSnapshot)
			s.add(base)
			continue
		}
		if r := j.started[identify(p)]; r != nil {
			base.Conn, base.conns = j.connRef(j.in.Conns[r.conn]), []int{r.conn}
		}
		more := append(j.programEvidence(p), j.requestEvidence(p)...)
		if !p.KernelThread {
			base.Summary = processSummary(p, parent) + j.programText(p) + j.requestText(p)
			base.Evidence = append(j.processEvidence(p, p.FirstSnapshot), more...)
			s.add(base)
			j.exit(s, p)
		}
		e := j.processEvent(p, parent)
		for _, r := range rules {
			if r.Category == "process_creation" && r.Match(e) {
				it := finding(r, fmt.Sprintf("%s (%d)", describe(p), p.PID), append(j.processEvidence(p, p.Snapshot), more...))
				it.key, it.at, it.upper, it.TimeBasis, it.Process, it.proc = base.key, at, upper, basis, base.Process, base.proc
				it.Conn, it.conns = base.Conn, base.conns
				s.add(it)
			}
		}
	}
}

func (j *joiner) exit(s *Story, p *process.Process) {
	n := j.snapshot(p.ExitSnapshot)
	if n == nil {
		return
	}
	s.add(Item{key: identify(p).String(), at: n.Realtime, rank: rankExit, Kind: KindExit, TimeBasis: "snapshot", Process: newOwner(p, Exact), proc: identify(p),
		Summary:  fmt.Sprintf("%s (%d) is gone by snapshot #%d", name(p), p.PID, n.Number),
		Evidence: []Evidence{{Stream: "memory", Records: []uint64{n.First, n.Last}}}})
}

// programText says where the program of a process came from, where that is known.
func (j *joiner) programText(p *process.Process) string {
	text := ""
	if cs := j.fetched[identify(p)]; len(cs) > 0 {
		text = ", a program whose " + cs[0].text()
	}
	if r := j.programs[identify(p)]; r != nil && r.SHA256 != "" {
		text += ", saved from memory"
	}
	return text
}

// requestText says which connection a process was started for.
func (j *joiner) requestText(p *process.Process) string {
	r := j.started[identify(p)]
	if r == nil {
		return ""
	}
	c := j.in.Conns[r.conn]
	return fmt.Sprintf(", started for %s from %s", c.UID, host(c.OrigH.String(), c.OrigP))
}

func (j *joiner) programEvidence(p *process.Process) []Evidence {
	var ev []Evidence
	if r := j.programs[identify(p)]; r != nil {
		d := fmt.Sprintf("snapshot #%d: the deleted program in the page cache, %d bytes, sha256 %s", r.Snapshot, r.Size, r.SHA256)
		if r.Missing > 0 {
			d = fmt.Sprintf("snapshot #%d: the deleted program in the page cache, %d of %d bytes", r.Snapshot, r.Size-r.Missing, r.Size)
		}
		n := j.snapshot(r.Snapshot)
		ev = append(ev, Evidence{Stream: "memory", Records: []uint64{n.First, n.Last}, Detail: d})
	}
	for _, f := range j.ranFrom[identify(p)] {
		d := fmt.Sprintf("%s of inode %d", f.Op, f.Inode)
		if f.SHA256New != "" {
			d += ", sha256 " + f.SHA256New
		}
		ev = append(ev, Evidence{Stream: f.Disk, Records: records(f.First, f.Last), Detail: d})
	}
	for _, c := range j.fetched[identify(p)] {
		ev = append(ev, j.carriedEvidence(&c))
	}
	return ev
}

func name(p *process.Process) string {
	if p.Exe != "" {
		return path.Base(strings.TrimSuffix(p.Exe, " (deleted)"))
	}
	return p.Comm
}

// describe names a process by what it runs and what it shows itself as.
func describe(p *process.Process) string {
	cmd := strings.Join(p.Args, " ")
	switch {
	case cmd == "" && p.Exe == "":
		return p.Comm
	case cmd == "":
		return p.Exe
	case p.Exe == "" || strings.HasPrefix(cmd, p.Exe):
		return cmd
	}
	return fmt.Sprintf("%q, running %s", cmd, p.Exe)
}

func processSummary(p, parent *process.Process) string {
	by := fmt.Sprintf("parent %d", p.PPID)
	if parent != nil {
		by = fmt.Sprintf("child of %s (%d)", name(parent), parent.PID)
	}
	return fmt.Sprintf("process %d: %s, uid %d, %s", p.PID, describe(p), p.UID, by)
}
