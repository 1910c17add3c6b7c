// Package table lays a story out as flat rows, for SQL: one table each of
// processes, file events, connections, the story's items and their evidence. The
// same rows go into Parquet files and into one SQLite database.
package table

import (
	"strings"

	"github.com/xentape/xentape/analyze/story"
)

// Process is a row of table processes.
type Process struct {
	PID       int64  `parquet:"pid"`
	PPID      int64  `parquet:"ppid"`
	Comm      string `parquet:"comm"`
	Exe       string `parquet:"exe"`
	Args      string `parquet:"args"`
	Cwd       string `parquet:"cwd"`
	UID       int64  `parquet:"uid"`
	GID       int64  `parquet:"gid"`
	StartTime int64  `parquet:"start_time"` // ns since the guest booted
	Threads   int64  `parquet:"threads"`
	State     string `parquet:"state"`
	Kernel    bool   `parquet:"kernel_thread"`
	Container string `parquet:"container"`
	FirstSeen string `parquet:"first_seen"`
	LastSeen  string `parquet:"last_seen"`
	ExitSeen  string `parquet:"exit_seen"`
	Task      string `parquet:"task_address"`
	Grade     string `parquet:"grade"`
}

// File is a row of table files.
type File struct {
	Op        string `parquet:"op"`
	Path      string `parquet:"path"`
	OldPath   string `parquet:"old_path"`
	Type      string `parquet:"type"`
	Inode     int64  `parquet:"inode"`
	Disk      string `parquet:"disk"`
	FS        string `parquet:"filesystem"`
	Size      int64  `parquet:"size"`
	Mode      int64  `parquet:"mode"`
	UID       int64  `parquet:"uid"`
	GID       int64  `parquet:"gid"`
	SHA256Old string `parquet:"sha256_old"`
	SHA256New string `parquet:"sha256_new"`
	Lower     int64  `parquet:"time_lower_ns"` // ns since 1970 UTC; 0 unknown
	Upper     int64  `parquet:"time_upper_ns"`
	Basis     string `parquet:"time_basis"`
	First     int64  `parquet:"first_record"`
	Last      int64  `parquet:"last_record"`
	PID       int64  `parquet:"process_pid"` // 0 unknown
	Grade     string `parquet:"process_grade"`
}

// Conn is a row of table conns. Names are Zeek's with dots as underscores.
type Conn struct {
	TS          int64  `parquet:"ts_ns"`
	UID         string `parquet:"uid"`
	OrigH       string `parquet:"id_orig_h"`
	OrigP       int64  `parquet:"id_orig_p"`
	RespH       string `parquet:"id_resp_h"`
	RespP       int64  `parquet:"id_resp_p"`
	Proto       string `parquet:"proto"`
	Service     string `parquet:"service"`
	Duration    int64  `parquet:"duration_ns"`
	OrigBytes   int64  `parquet:"orig_bytes"`
	RespBytes   int64  `parquet:"resp_bytes"`
	State       string `parquet:"conn_state"`
	Missed      int64  `parquet:"missed_bytes"`
	History     string `parquet:"history"`
	OrigPkts    int64  `parquet:"orig_pkts"`
	RespPkts    int64  `parquet:"resp_pkts"`
	CommunityID string `parquet:"community_id"`
	First       int64  `parquet:"first_record"`
	Last        int64  `parquet:"last_record"`
	PID         int64  `parquet:"process_pid"`
	Grade       string `parquet:"process_grade"`
}

// Item is a row of table story.
type Item struct {
	ID        int64  `parquet:"id"` // position in the story, from 1
	Time      string `parquet:"time"`
	TimeUpper string `parquet:"time_upper"`
	Basis     string `parquet:"time_basis"`
	Kind      string `parquet:"kind"`
	Severity  string `parquet:"severity"`
	Rule      string `parquet:"rule"`
	Summary   string `parquet:"summary"`
	Why       string `parquet:"why"`
	PID       int64  `parquet:"process_pid"`
	Grade     string `parquet:"process_grade"`
	Path      string `parquet:"file_path"`
	ConnUID   string `parquet:"conn_uid"`
}

// Evidence is a row of table evidence: one record an item rests on.
type Evidence struct {
	Item   int64  `parquet:"item"`
	Stream string `parquet:"stream"`
	Record int64  `parquet:"record"` // 0: the detail tells
	Detail string `parquet:"detail"`
}

// Tables are all rows, each table in the story's order.
type Tables struct {
	Processes []Process
	Files     []File
	Conns     []Conn
	Story     []Item
	Evidence  []Evidence
}

// Make lays out a story.
func Make(s *story.Story) *Tables {
	t := &Tables{}
	in := s.Input()
	for i := range in.Processes {
		p := &in.Processes[i]
		task, _ := p.TaskAddress.MarshalText()
		t.Processes = append(t.Processes, Process{PID: int64(p.PID), PPID: int64(p.PPID), Comm: p.Comm, Exe: p.Exe, Args: strings.Join(p.Args, " "), Cwd: p.Cwd,
			UID: int64(p.UID), GID: int64(p.GID), StartTime: int64(p.StartTime), Threads: int64(p.Threads), State: p.State, Kernel: p.KernelThread, Container: p.Container,
			FirstSeen: p.FirstSeen, LastSeen: p.LastSeen, ExitSeen: p.ExitSeen, Task: string(task), Grade: string(p.Grade)})
	}
	for i := range in.Files {
		f := &in.Files[i]
		pid, grade := owner(s.Writers[i])
		t.Files = append(t.Files, File{Op: f.Op, Path: f.Path, OldPath: f.OldPath, Type: f.Type, Inode: int64(f.Inode), Disk: f.Disk, FS: f.Filesystem, Size: int64(f.Size),
			Mode: int64(f.Mode), UID: int64(f.UID), GID: int64(f.GID), SHA256Old: f.SHA256Old, SHA256New: f.SHA256New, Lower: f.Lower, Upper: f.Upper, Basis: f.Basis,
			First: int64(f.First), Last: int64(f.Last), PID: pid, Grade: grade})
	}
	for i, c := range in.Conns {
		pid, grade := owner(s.Owners[i])
		r := Conn{TS: int64(c.TS), UID: c.UID, OrigH: c.OrigH.String(), OrigP: int64(c.OrigP), RespH: c.RespH.String(), RespP: int64(c.RespP), Proto: c.Proto, Service: c.Service,
			State: c.ConnState, Missed: int64(c.MissedBytes), History: c.History, OrigPkts: int64(c.OrigPkts), RespPkts: int64(c.RespPkts), CommunityID: c.CommunityID,
			First: int64(c.FirstRecord), Last: int64(c.LastRecord), PID: pid, Grade: grade}
		if c.Duration != nil {
			r.Duration, r.OrigBytes, r.RespBytes = int64(*c.Duration), int64(*c.OrigBytes), int64(*c.RespBytes)
		}
		t.Conns = append(t.Conns, r)
	}
	for i := range s.Items {
		t.item(int64(i+1), &s.Items[i])
	}
	return t
}

func (t *Tables) item(id int64, it *story.Item) {
	r := Item{ID: id, Time: it.Time, TimeUpper: it.TimeUpper, Basis: it.TimeBasis, Kind: string(it.Kind), Severity: it.Severity, Rule: it.Rule, Summary: it.Summary, Why: it.Why}
	r.PID, r.Grade = owner(it.Process)
	if it.File != nil {
		r.Path = it.File.Path
	}
	if it.Conn != nil {
		r.ConnUID = it.Conn.UID
	}
	t.Story = append(t.Story, r)
	for _, e := range it.Evidence {
		if len(e.Records) == 0 {
			t.Evidence = append(t.Evidence, Evidence{Item: id, Stream: e.Stream, Detail: e.Detail})
		}
		for _, n := range e.Records {
			t.Evidence = append(t.Evidence, Evidence{Item: id, Stream: e.Stream, Record: int64(n), Detail: e.Detail})
		}
	}
}

func owner(o *story.Owner) (pid int64, grade string) {
	if o == nil {
		return 0, string(story.Unknown)
	}
	return int64(o.PID), string(o.Grade)
}
