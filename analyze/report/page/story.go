package page

import (
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/story"
)

// FromStory lays a story out for the page.
func FromStory(s *story.Story) *Data {
	in := s.Input()
	d := &Data{Title: "What happened in this guest", Snapshots: []Instant{}, Processes: []Process{}, Files: []File{}, Conns: []Conn{}, Findings: []Finding{}, Gaps: []Gap{}}
	for i := range in.Snapshots {
		d.Snapshots = append(d.Snapshots, Instant{Time: in.Snapshots[i].Realtime, Name: fmt.Sprintf("#%d", in.Snapshots[i].Number)})
	}
	index := map[int]int{} // pid → latest process
	for i := range in.Processes {
		p := &in.Processes[i]
		v := Process{PID: p.PID, PPID: p.PPID, Parent: None, Name: p.Comm, Exe: p.Exe, Args: strings.Join(p.Args, " "), UID: fmt.Sprint(p.UID), Kernel: p.KernelThread, Grade: string(p.Grade)}
		if in.Boot != 0 {
			v.Start = in.Boot + int64(p.StartTime)
		}
		for k := range in.Snapshots {
			if n := &in.Snapshots[k]; n.Number == p.ExitSnapshot {
				v.End = n.Realtime
			}
		}
		if at, ok := index[p.PPID]; ok {
			v.Parent = at
		}
		task, _ := p.TaskAddress.MarshalText()
		v.Source = fmt.Sprintf("snapshots #%d to #%d, task_struct %s", p.FirstSnapshot, p.LastSnapshot, task)
		index[p.PID] = i
		d.Processes = append(d.Processes, v)
	}
	d.Files = make([]File, len(in.Files))
	d.Conns = make([]Conn, len(in.Conns))
	for i := range s.Items {
		d.item(s, &s.Items[i])
	}
	for i := range in.Gaps {
		g := &in.Gaps[i]
		d.Gaps = append(d.Gaps, Gap{Start: g.From, End: g.To, Stream: g.Stream, Why: g.Reason})
	}
	d.span(s)
	return d
}

func (d *Data) item(s *story.Story, it *story.Item) {
	files, conns := it.About()
	proc, grade := s.OwnerIndex(it.Process), string(story.Unknown)
	if it.Process != nil {
		grade = string(it.Process.Grade)
	}
	source := evidence(it.Evidence)
	switch it.Kind {
	case story.KindFile:
		d.Files[files[0]] = File{Op: it.File.Op, Path: it.File.Path, Old: it.File.OldPath, Lower: it.At(), Upper: it.Upper(), Basis: it.TimeBasis, Detail: it.Summary,
			Process: proc, Grade: grade, Source: source}
	case story.KindConnection:
		c := it.Conn
		d.Conns[conns[0]] = Conn{Proto: c.Proto, Orig: host(c.OrigH, c.OrigP), Resp: host(c.RespH, c.RespP), Service: c.Service, State: c.State,
			Detail: strings.Join(c.Names, ", "), Start: it.At(), End: it.Upper(), Process: proc, Grade: grade, Source: source}
	case story.KindFinding:
		f := Finding{Time: it.At(), Severity: it.Severity, Title: it.Summary, Why: it.Why, Files: files, Conns: conns, Source: source}
		if i := s.ProcessIndex(it); i != None {
			f.Processes = []int{i}
		}
		d.Findings = append(d.Findings, f)
	}
}

// span is from the first to the last thing the tape itself saw: processes that
// started long before would make the rest a line.
func (d *Data) span(s *story.Story) {
	add := func(t int64) {
		if t <= 0 {
			return
		}
		if d.Start == 0 || t < d.Start {
			d.Start = t
		}
		d.End = max(d.End, t)
	}
	for i := range s.Items {
		if k := s.Items[i].Kind; k != story.KindProcess && k != story.KindFinding {
			add(s.Items[i].At())
			add(s.Items[i].Upper())
		}
	}
}

func host(h string, p uint16) string {
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	return fmt.Sprintf("%s:%d", h, p)
}

func evidence(es []story.Evidence) string {
	var parts []string
	for _, e := range es {
		part := e.Stream
		if len(e.Records) > 0 {
			part += " records " + strings.Trim(fmt.Sprint(e.Records), "[]")
		}
		if e.Detail != "" {
			part += ": " + e.Detail
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}
