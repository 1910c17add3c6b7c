package story

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/xentape/xentape/analyze/internal/sigma"
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

// Kind is what an item of the story is.
type Kind string

// The kinds of item.
const (
	KindSnapshot   Kind = "snapshot"
	KindProcess    Kind = "process"    // a process began
	KindExit       Kind = "exit"       // a process was gone at a snapshot
	KindConnection Kind = "connection" // a connection began
	KindFile       Kind = "file"       // something on a disk changed
	KindFinding    Kind = "finding"    // a conclusion
	KindGap        Kind = "gap"        // something is missing from the tape
	KindClock      Kind = "clock"      // how the guest's clock went by the host's
)

// Item is one line of the story.
type Item struct {
	// ID names the item across tellings of a growing tape: a later line with the
	// same id says more of the same thing and replaces it.
	ID        string     `json:"id"`
	Time      string     `json:"time"`                 // RFC 3339, UTC; the lower bound where it is an interval
	TimeUpper string     `json:"time_upper,omitempty"` // the upper bound
	TimeBasis string     `json:"time_basis,omitempty"` // what the time rests on: "packet", "boottime", "snapshot", or the file analyzer's basis
	Kind      Kind       `json:"kind"`
	Severity  string     `json:"severity,omitempty"` // of findings: info, low, medium, high, critical
	Rule      string     `json:"rule,omitempty"`
	Summary   string     `json:"summary"`
	Why       string     `json:"why,omitempty"`
	Tags      []string   `json:"tags,omitempty"`
	Process   *Owner     `json:"process,omitempty"`
	File      *FileRef   `json:"file,omitempty"`
	Conn      *ConnRef   `json:"conn,omitempty"`
	Evidence  []Evidence `json:"evidence"`

	key   string // what makes it this item
	at    int64  // ns since 1970, for order
	upper int64
	rank  int
	proc  identity
	files []int
	conns []int
}

// FileRef names a file event.
type FileRef struct {
	Op       string `json:"op"`
	Path     string `json:"path"`
	OldPath  string `json:"old_path,omitempty"`
	Disk     string `json:"disk"`
	Inode    uint64 `json:"inode"`
	SHA256   string `json:"sha256,omitempty"`
	FromConn string `json:"from_conn,omitempty"` // uid of the connection that carried the same content
	FromURL  string `json:"from_url,omitempty"`
}

// ConnRef names a connection.
type ConnRef struct {
	UID         string   `json:"uid"`
	CommunityID string   `json:"community_id"`
	Proto       string   `json:"proto"`
	OrigH       string   `json:"id.orig_h"`
	OrigP       uint16   `json:"id.orig_p"`
	RespH       string   `json:"id.resp_h"`
	RespP       uint16   `json:"id.resp_p"`
	Service     string   `json:"service,omitempty"`
	State       string   `json:"conn_state"`
	Names       []string `json:"names,omitempty"` // what the peer was asked for by
}

// Story is the whole, in time order.
type Story struct {
	Items []Item
	// Owners has, for each connection of the input, the process that held it, or
	// nil; Writers likewise for each file event.
	Owners   []*Owner
	Writers  []*Owner
	in       *Input
	position map[identity]int
}

// Input is what the story was told of.
func (s *Story) Input() *Input { return s.in }

// Tell joins the input and draws conclusions by the rules given, besides those of
// the analyzers themselves.
func Tell(in *Input, rules []*sigma.Rule) *Story {
	j := join(in)
	s := &Story{Owners: j.owners, Writers: j.writers, in: in, position: positions(in.Processes)}
	j.clock(s)
	j.snapshots(s)
	j.processes(s, rules)
	j.connections(s, rules)
	j.files(s, rules)
	j.oddities(s)
	j.gaps(s)
	sort.SliceStable(s.Items, func(a, b int) bool {
		x, y := &s.Items[a], &s.Items[b]
		switch {
		case x.at != y.at:
			return x.at < y.at
		case x.rank != y.rank:
			return x.rank < y.rank
		case x.upper != y.upper:
			return x.upper < y.upper
		}
		return x.Summary < y.Summary
	})
	return s
}

// The order of items of one instant: causes before what is made of them.
const (
	rankGap = iota
	rankSnapshot
	rankProcess
	rankConn
	rankFile
	rankExit
	rankFinding
)

func (s *Story) add(it Item) {
	sum := sha256.Sum256([]byte(string(it.Kind) + "\x00" + it.Rule + "\x00" + it.key))
	it.ID = hex.EncodeToString(sum[:8])
	it.Time = rfc3339(it.at)
	if it.upper > it.at {
		it.TimeUpper = rfc3339(it.upper)
	}
	if it.Evidence == nil {
		it.Evidence = []Evidence{}
	}
	s.Items = append(s.Items, it)
}

func (j *joiner) snapshots(s *Story) {
	for i := range j.in.Snapshots {
		n := &j.in.Snapshots[i]
		how := "while the guest ran"
		if n.Paused {
			how = "with the guest paused"
		}
		s.add(Item{key: fmt.Sprint(n.Number), at: n.Realtime, rank: rankSnapshot, Kind: KindSnapshot, TimeBasis: "snapshot",
			Summary:  fmt.Sprintf("memory snapshot #%d, %s: %d processes", n.Number, how, len(n.Processes)),
			Evidence: []Evidence{{Stream: "memory", Records: []uint64{n.First, n.Last}}}})
	}
}

// clock tells how times of the guest and of the host belong together.
func (j *joiner) clock(s *Story) {
	c := j.in.Clock
	if c == nil {
		return
	}
	n := j.snapshot(c.Snapshot)
	ahead, way := c.Ahead, "ahead of"
	if ahead < 0 {
		ahead, way = -ahead, "behind"
	}
	s.add(Item{key: "clock", at: n.Realtime, rank: rankGap, Kind: KindClock, TimeBasis: "snapshot",
		Summary: fmt.Sprintf("the guest's clock is %s %s the recording host's, ±%s, at snapshot #%d; times here are the host's",
			time.Duration(ahead).Round(time.Microsecond), way, time.Duration(c.Uncertainty).Round(time.Millisecond), c.Snapshot),
		Evidence: []Evidence{{Stream: "memory", Records: []uint64{n.First, n.Last}, Detail: "timekeeper of the kernel"}}})
}

func (j *joiner) snapshot(n int) *Snapshot {
	for i := range j.in.Snapshots {
		if j.in.Snapshots[i].Number == n {
			return &j.in.Snapshots[i]
		}
	}
	return nil
}

// processEvidence is where a process was read from.
func (j *joiner) processEvidence(p *process.Process, snap int) []Evidence {
	s := j.snapshot(snap)
	if s == nil {
		return nil
	}
	return []Evidence{{Stream: "memory", Records: []uint64{s.First, s.Last},
		Detail: fmt.Sprintf("snapshot #%d: task_struct of pid %d at %#x", snap, p.PID, uint64(p.TaskAddress))}}
}

// started is the wall-clock time a process began at, by the guest's boot clock;
// without it, the first snapshot that shows the process bounds it from above.
func (j *joiner) started(p *process.Process) (at, upper int64, basis string) {
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
		at, upper, basis := j.started(p)
		if p.Grade == process.Residue {
			n := j.snapshot(p.FirstSnapshot)
			s.add(Item{key: identify(p).String(), at: at, upper: n.Realtime, TimeBasis: basis, rank: rankProcess, Kind: KindProcess, Process: newOwner(p, Inferred), proc: identify(p),
				Summary: fmt.Sprintf("process %d: %s, uid %d, had ended by snapshot #%d: what is left of it in freed memory", p.PID, describe(p), p.UID, n.Number), Evidence: j.processEvidence(p, p.FirstSnapshot)})
			continue
		}
		if !p.KernelThread {
			s.add(Item{key: identify(p).String(), at: at, upper: upper, TimeBasis: basis, rank: rankProcess, Kind: KindProcess, Process: newOwner(p, Exact), proc: identify(p),
				Summary: processSummary(p, parent) + j.programText(p), Evidence: append(j.processEvidence(p, p.FirstSnapshot), j.programEvidence(p)...)})
			if n := j.snapshot(p.ExitSnapshot); n != nil {
				s.add(Item{key: identify(p).String(), at: n.Realtime, rank: rankExit, Kind: KindExit, TimeBasis: "snapshot", Process: newOwner(p, Exact), proc: identify(p),
					Summary:  fmt.Sprintf("%s (%d) is gone by snapshot #%d", name(p), p.PID, n.Number),
					Evidence: []Evidence{{Stream: "memory", Records: []uint64{n.First, n.Last}}}})
			}
		}
		e := j.processEvent(p, parent)
		for _, r := range rules {
			if r.Category == "process_creation" && r.Match(e) {
				ev := append(j.processEvidence(p, p.Snapshot), j.programEvidence(p)...)
				it := finding(r, fmt.Sprintf("%s (%d)", describe(p), p.PID), ev)
				it.key = identify(p).String()
				it.at, it.upper, it.TimeBasis = at, upper, basis
				it.Process, it.proc = newOwner(p, Exact), identify(p)
				s.add(it)
			}
		}
	}
}

// programText says where the program of a process came from, where that is known.
func (j *joiner) programText(p *process.Process) string {
	text := ""
	if ts := j.fetched[identify(p)]; len(ts) > 0 {
		text = ", a program that came over " + ts[0].UID
		if ts[0].URL != "" {
			text += " (" + ts[0].URL + ")"
		}
	}
	if r := j.programs[identify(p)]; r != nil && r.SHA256 != "" {
		text += ", saved from memory"
	}
	return text
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
		ev = append(ev, Evidence{Stream: f.Disk, Records: records(f.First, f.Last), Detail: fmt.Sprintf("%s of inode %d, sha256 %s", f.Op, f.Inode, f.SHA256New)})
	}
	for _, t := range j.fetched[identify(p)] {
		ev = append(ev, Evidence{Stream: orDefault(j.in.Conns[j.connByID[t.UID]].Stream, "network"), Records: records(t.First, t.Last),
			Detail: fmt.Sprintf("connection %s carried the same %d bytes, sha256 %s", t.UID, t.Size, t.SHA256)})
	}
	return ev
}

func finding(r *sigma.Rule, what string, ev []Evidence) Item {
	return Item{rank: rankFinding, Kind: KindFinding, Severity: severity(r.Level), Rule: r.ID, Tags: r.Tags,
		Summary: r.Title + ": " + what, Why: strings.Join(strings.Fields(r.Description), " "), Evidence: ev}
}

func severity(level string) string {
	if level == "informational" {
		return "info"
	}
	return level
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

func (j *joiner) connections(s *Story, rules []*sigma.Rule) {
	for i, c := range j.in.Conns {
		at := int64(c.TS)
		upper := at
		if c.Duration != nil {
			upper += int64(*c.Duration)
		}
		ev := []Evidence{{Stream: orDefault(c.Stream, "network"), Records: records(c.FirstRecord, c.LastRecord)}}
		o := j.owners[i]
		if o != nil {
			ev = append(ev, o.Evidence...)
		}
		ref := j.connRef(c)
		s.add(Item{key: c.UID, at: at, upper: upper, TimeBasis: "packet", rank: rankConn, Kind: KindConnection, Process: o, Conn: ref, proc: ownerKey(o), conns: []int{i},
			Summary: connSummary(c, ref, o), Evidence: ev})
		e := j.connEvent(i)
		for _, r := range rules {
			if r.Category == "network_connection" && r.Match(e) {
				it := finding(r, connText(ref), ev)
				it.key = c.UID
				it.at, it.upper, it.TimeBasis, it.Process, it.Conn, it.proc, it.conns = at, upper, "packet", o, ref, ownerKey(o), []int{i}
				s.add(it)
			}
		}
	}
}

func ownerKey(o *Owner) identity {
	if o == nil {
		return identity{}
	}
	return o.key
}

func records(first, last uint64) []uint64 {
	if first == last {
		return []uint64{first}
	}
	return []uint64{first, last}
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func (j *joiner) connRef(c *network.Conn) *ConnRef {
	return &ConnRef{UID: c.UID, CommunityID: c.CommunityID, Proto: c.Proto, OrigH: c.OrigH.String(), OrigP: c.OrigP,
		RespH: c.RespH.String(), RespP: c.RespP, Service: c.Service, State: c.ConnState, Names: unique(j.in.Names[c.UID])}
}

func unique(in []string) []string {
	seen := map[string]bool{}
	out := in[:0:0]
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func connText(r *ConnRef) string {
	t := fmt.Sprintf("%s %s → %s", r.Proto, host(r.OrigH, r.OrigP), host(r.RespH, r.RespP))
	if len(r.Names) > 0 {
		t += " (" + strings.Join(r.Names[:min(3, len(r.Names))], ", ") + ")"
	}
	return t
}

func host(h string, p uint16) string {
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	return fmt.Sprintf("%s:%d", h, p)
}

func connSummary(c *network.Conn, r *ConnRef, o *Owner) string {
	t := connText(r)
	if c.Service != "" {
		t += ", " + c.Service
	}
	t += ", " + c.ConnState
	if c.OrigBytes != nil {
		t += fmt.Sprintf(", %d bytes out and %d back", *c.OrigBytes, *c.RespBytes)
	}
	if o != nil {
		t += fmt.Sprintf(", by %s (%d) [%s]", o.title(), o.PID, o.Grade)
	}
	return t
}

func (o *Owner) title() string {
	if o.Exe != "" {
		return path.Base(strings.TrimSuffix(o.Exe, " (deleted)"))
	}
	return o.Comm
}

func (j *joiner) files(s *Story, rules []*sigma.Rule) {
	for i := range j.in.Files {
		f := &j.in.Files[i]
		ev := []Evidence{{Stream: f.Disk, Records: records(f.First, f.Last)}}
		o := j.writers[i]
		if o != nil {
			ev = append(ev, o.Evidence...)
		}
		ref := &FileRef{Op: f.Op, Path: f.Path, OldPath: f.OldPath, Disk: f.Disk, Inode: f.Inode, SHA256: f.SHA256New}
		var conns []int
		for _, t := range j.cameFrom[i] {
			c := j.connByID[t.UID]
			conns = append(conns, c)
			ref.FromConn, ref.FromURL = t.UID, t.URL
			ev = append(ev, Evidence{Stream: orDefault(j.in.Conns[c].Stream, "network"), Records: records(t.First, t.Last),
				Detail: fmt.Sprintf("connection %s carried the same %d bytes, sha256 %s", t.UID, t.Size, t.SHA256)})
		}
		it := Item{key: f.key(), at: f.Lower, upper: f.Upper, TimeBasis: f.Basis, rank: rankFile, Kind: KindFile, Process: o, File: ref, proc: ownerKey(o), files: []int{i}, conns: conns,
			Summary: fileSummary(f, ref, o), Evidence: ev}
		s.add(it)
		e := j.fileEvent(i)
		for _, r := range rules {
			if r.Category == "file_event" && r.Match(e) {
				fi := finding(r, fileText(f), ev)
				fi.key = f.key()
				fi.at, fi.upper, fi.TimeBasis, fi.Process, fi.File, fi.proc, fi.files, fi.conns = f.Lower, f.Upper, f.Basis, o, ref, ownerKey(o), []int{i}, conns
				s.add(fi)
			}
		}
	}
}

// key tells file events apart: two of one record differ in what or where.
func (f *FileEvent) key() string {
	return fmt.Sprint(f.Disk, f.First, f.Last, f.Op, f.Inode, f.OldPath, "\x00", f.Path)
}

func fileText(f *FileEvent) string {
	if f.OldPath != "" {
		return fmt.Sprintf("%s %s → %s", f.Op, f.OldPath, f.Path)
	}
	return f.Op + " " + f.Path
}

func fileSummary(f *FileEvent, r *FileRef, o *Owner) string {
	t := fileText(f)
	if f.Type == "file" && (f.Op == "create" || f.Op == "write" || f.Op == "truncate") {
		t += fmt.Sprintf(", %d bytes", f.Size)
	}
	if r.FromConn != "" {
		t += ", content came over " + r.FromConn
		if r.FromURL != "" {
			t += " (" + r.FromURL + ")"
		}
	}
	if o != nil {
		t += fmt.Sprintf(", by %s (%d) [%s]", o.title(), o.PID, o.Grade)
	}
	return t
}

func (j *joiner) oddities(s *Story) {
	for i := range j.in.Oddities {
		o := &j.in.Oddities[i]
		it := Item{key: fmt.Sprint(o.PID, o.Start, o.Task, o.Summary), at: o.At, rank: rankFinding, Kind: KindFinding, Severity: o.Severity, Rule: o.Rule, Summary: o.Summary, Why: o.Why, Evidence: o.Evidence}
		if o.PID != 0 {
			it.proc = identity{o.PID, o.Start, o.Task}
			if p := j.procs[it.proc]; p != nil {
				it.Process = newOwner(p, Exact)
			}
		}
		if o.File >= 0 && o.File < len(j.in.Files) {
			f := &j.in.Files[o.File]
			it.File = &FileRef{Op: f.Op, Path: f.Path, OldPath: f.OldPath, Disk: f.Disk, Inode: f.Inode, SHA256: f.SHA256New}
			it.files = []int{o.File}
		}
		s.add(it)
	}
}

func (j *joiner) gaps(s *Story) {
	for _, g := range j.in.Gaps {
		s.add(Item{key: fmt.Sprint(g.Record), at: g.From, upper: g.To, rank: rankGap, Kind: KindGap, Summary: fmt.Sprintf("%s: %s", g.Stream, g.Reason),
			Evidence: []Evidence{{Stream: g.Stream, Records: []uint64{g.Record}}}})
	}
}
