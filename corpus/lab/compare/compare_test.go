package main

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/lab/truth"
)

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func moment(seconds int) *time.Time { t := at(seconds); return &t }

// incident is a small record: two points, a shell that opens a connection
// between them, a file that it makes, and one it renames.
func incident() *record {
	bash := truth.Process{
		PID: 20, PPID: 1, Comm: "bash", Args: []string{"bash"}, Exe: "/usr/bin/bash", CWD: "/", Threads: 1, StartTicks: 700,
		Sockets: []truth.Socket{{Proto: "tcp", Local: "10.0.0.1:4000", Remote: "10.0.0.2:4444", State: "ESTABLISHED"}},
	}
	file := truth.FileState{Inode: 12, Mode: 0o100644, Links: 1, Size: 3, Mtime: at(50), SHA256: "aa"}
	moved := truth.FileState{Inode: 13, Mode: 0o100644, Links: 1, Size: 9, Mtime: at(-90)}
	return &record{
		points:    []truth.Point{{Name: "before", Time: at(0), Monotonic: 1e9}, {Name: "after", Time: at(100), Monotonic: 101e9}},
		processes: map[string][]truth.Process{"before": {}, "after": {bash}},
		manifests: map[string][]truth.ManifestEntry{
			"before": {{Path: "/old", FileState: moved}},
			"after":  {{Path: "/etc/evil", FileState: file}, {Path: "/new", FileState: moved}},
		},
		notes: []truth.FileNote{
			{Time: at(49), When: "before", Path: "/etc/evil"},
			{Time: at(51), When: "after", Op: "create", Path: "/etc/evil", State: &file},
			{Time: at(59), When: "before", Path: "/old", State: &moved},
			{Time: at(59), When: "before", Path: "/new"},
			{Time: at(61), When: "after", Op: "rename", Path: "/new", OldPath: "/old", State: &moved},
		},
		conversations: []truth.Conversation{
			{Time: at(30), Service: "shell", Proto: "tcp", Guest: "10.0.0.1:4000", Peer: "10.0.0.2:4444", Received: 10, Sent: 5, Opened: true},
			{Time: at(31), Service: "dns", Proto: "udp", Guest: "10.0.0.1:5000", Peer: "10.0.0.2:53", Received: 30, Sent: 46},
			{Time: at(31), Service: "dns", Proto: "udp", Guest: "10.0.0.1:5000", Peer: "10.0.0.2:53", Received: 30, Sent: 30},
		},
	}
}

func shellProcess() psProcess {
	p := psProcess{PID: 20, PPID: 1, Comm: "bash", Args: []string{"bash"}, Exe: "/usr/bin/bash", Cwd: "/", Threads: 1, StartTime: 7_000_000_123, Grade: "seen"}
	p.Sockets = append(p.Sockets, struct {
		Family     string
		Proto      string
		Local      string
		LocalPort  uint16 `json:"local_port"`
		Remote     string
		RemotePort uint16 `json:"remote_port"`
	}{"inet", "tcp", "10.0.0.1", 4000, "10.0.0.2", 4444})
	return p
}

func TestProcesses(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(r *record, p *psProcess, all *[]psProcess)
		different bool
		explained bool
	}{
		"the same":       {change: func(*record, *psProcess, *[]psProcess) {}},
		"another parent": {change: func(_ *record, p *psProcess, _ *[]psProcess) { p.PPID = 2 }, different: true},
		"another start":  {change: func(_ *record, p *psProcess, _ *[]psProcess) { p.StartTime += 1e9 }, different: true},
		"no socket":      {change: func(_ *record, p *psProcess, _ *[]psProcess) { p.Sockets = nil }, different: true},
		"missing":        {change: func(_ *record, p *psProcess, _ *[]psProcess) { p.Grade = "residue" }, different: true},
		"ended in between": {change: func(r *record, p *psProcess, _ *[]psProcess) {
			p.Grade = "residue"
			r.lives = append(r.lives, truth.Life{Monotonic: 102e9, Event: "exit", PID: 20})
		}, explained: true},
		"ended after the snapshot": {change: func(r *record, p *psProcess, _ *[]psProcess) {
			p.Grade = "residue"
			r.lives = append(r.lives, truth.Life{Monotonic: 106e9, Event: "exit", PID: 20})
		}, different: true},
		"hidden and found": {change: func(r *record, p *psProcess, _ *[]psProcess) {
			p.Grade = "hidden"
			r.hidden = []truth.Hidden{{Monotonic: 90e9, Process: r.processes["after"][0]}}
			r.processes["after"] = nil
		}},
		"hidden and missed": {change: func(r *record, p *psProcess, _ *[]psProcess) {
			p.Grade = "residue"
			r.hidden = []truth.Hidden{{Monotonic: 90e9, Process: r.processes["after"][0]}}
			r.processes["after"] = nil
		}, different: true},
		"hidden and not said to be": {change: func(r *record, _ *psProcess, _ *[]psProcess) {
			r.hidden = []truth.Hidden{{Monotonic: 90e9, Process: r.processes["after"][0]}}
			r.processes["after"] = nil
		}, different: true},
		"ended before the look": {change: func(r *record, p *psProcess, _ *[]psProcess) {
			p.Grade = "residue"
			r.lives = append(r.lives, truth.Life{Monotonic: 100e9, Event: "exit", PID: 20})
		}, different: true},
		"one too many": {change: func(_ *record, _ *psProcess, all *[]psProcess) {
			*all = append(*all, psProcess{PID: 66, Comm: "ghost", Grade: "hidden"})
		}, different: true},
		"born in between": {change: func(r *record, _ *psProcess, all *[]psProcess) {
			*all = append(*all, psProcess{PID: 66, Comm: "late", Grade: "seen"})
			r.lives = append(r.lives, truth.Life{Monotonic: 102e9, Event: "fork", PID: 66})
		}, explained: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := incident()
			p := shellProcess()
			var all []psProcess
			c.change(r, &p, &all)
			got := compareProcesses(r, look{r.points[1], at(102)}, append(all, p, psProcess{}))
			require.Equal(t, c.different, len(got.differences) > 0, "%v", got.differences)
			require.Equal(t, c.explained, len(got.explained) > 0, "%v", got.explained)
		})
	}
}

func fileEvents() []fileEvent {
	return []fileEvent{
		{Op: "create", Path: "/etc/evil", Inode: 12, Type: "file", SHA256New: "aa", Lower: moment(50), Upper: moment(50)},
		{Op: "rename", Path: "/new", OldPath: "/old", Inode: 13, Type: "file", Lower: moment(60), Upper: moment(60)},
	}
}

func TestFiles(t *testing.T) {
	outage := gaps{{kind: "disk", from: at(55), to: at(56)}}
	for name, c := range map[string]struct {
		change      func(e []fileEvent) []fileEvent
		gaps        gaps
		steps, tree int // differences
	}{
		"the same":                {change: func(e []fileEvent) []fileEvent { return e }},
		"one missing":             {change: func(e []fileEvent) []fileEvent { return e[1:] }, steps: 1, tree: 1},
		"missing, a gap":          {change: func(e []fileEvent) []fileEvent { return e[1:] }, gaps: outage},
		"other content":           {change: func(e []fileEvent) []fileEvent { e[0].SHA256New = "bb"; return e }, steps: 1},
		"other inode":             {change: func(e []fileEvent) []fileEvent { e[0].Inode++; return e }, steps: 1},
		"other old path":          {change: func(e []fileEvent) []fileEvent { e[1].OldPath = "/older"; return e }, steps: 1, tree: 1},
		"at another time":         {change: func(e []fileEvent) []fileEvent { e[0].Lower, e[0].Upper = moment(70), moment(71); return e }, steps: 1},
		"not before a known time": {change: func(e []fileEvent) []fileEvent { e[0].Upper, e[1].Upper = nil, nil; return e }},
		"not after a known time":  {change: func(e []fileEvent) []fileEvent { e[0].Lower, e[1].Lower = nil, nil; return e }},
		"later than the last look": {change: func(e []fileEvent) []fileEvent {
			e[0].Lower, e[0].Upper = moment(101), nil
			return e
		}, steps: 1, tree: 1},
		"one too many": {change: func(e []fileEvent) []fileEvent {
			return append(e, fileEvent{Op: "write", Path: "/etc/shadow", Inode: 99, Type: "file", Lower: moment(40), Upper: moment(41)})
		}, tree: 1},
		"came and went": {change: func(e []fileEvent) []fileEvent {
			return append(e,
				fileEvent{Op: "create", Path: "/tmp/x", Inode: 99, Type: "file", Lower: moment(40), Upper: moment(41)},
				fileEvent{Op: "delete", Path: "/tmp/x", Inode: 99, Type: "file", Lower: moment(42), Upper: moment(43)})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r, events := incident(), c.change(fileEvents())
			steps, tree := compareSteps(r, events, c.gaps), compareTree(r, events, c.gaps)
			require.Len(t, steps.differences, c.steps, "%v", steps.differences)
			require.Len(t, tree.differences, c.tree, "%v", tree.differences)
		})
	}
}

// TestContentThatNeverReachedTheDisk: a file that was deleted before the kernel wrote
// it has no content on the tape, or a part of it; one that stayed has all.
func TestContentThatNeverReachedTheDisk(t *testing.T) {
	part := []struct {
		Length uint64 `json:"length"`
	}{{2}}
	for name, c := range map[string]struct {
		gone      int // seconds; 0: it stays
		written   bool
		sum       string
		different int
	}{
		"deleted soon":                {60, false, "", 0},
		"deleted soon, partly there":  {60, true, "bb", 0},
		"deleted soon, other content": {60, false, "bb", 1},
		"deleted late":                {90, false, "", 1},
		"deleted late, partly there":  {90, true, "bb", 1},
		"stays":                       {0, false, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, events := incident(), fileEvents()
			events[0].SHA256New, events[0].Size = c.sum, 3
			if c.written {
				events[0].Ranges = part
			}
			if c.gone > 0 {
				r.notes = append(r.notes, truth.FileNote{Time: at(c.gone), When: "after", Op: "delete", Path: "/etc/evil"})
				events = append(events, fileEvent{Op: "delete", Path: "/etc/evil", Inode: 12, Type: "file", Lower: moment(c.gone - 1), Upper: moment(c.gone)})
				r.notes = slices.Insert(r.notes, len(r.notes)-1, truth.FileNote{Time: at(c.gone - 2), When: "before", Path: "/etc/evil", State: r.notes[1].State})
			}
			steps := compareSteps(r, events, nil)
			require.Len(t, steps.differences, c.different, "%v", steps.differences)
			require.Len(t, steps.explained, 1-c.different)
		})
	}
}

// TestWhatNoCommitHeardOf: a file made and removed while the file system, by its own
// count, committed nothing, was never on the disk; with a commit in between it was.
func TestWhatNoCommitHeardOf(t *testing.T) {
	for name, c := range map[string]struct {
		made, gone string
		different  int
	}{
		"no commit":        {"7 transactions", "7 transactions", 0},
		"a commit between": {"7 transactions", "8 transactions", 2},
		"not known":        {"", "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := incident()
			file := r.notes[1].State
			r.notes = []truth.FileNote{
				{Time: at(49), When: "before", Path: "/etc/evil", Commits: c.made},
				{Time: at(51), When: "after", Op: "create", Path: "/etc/evil", State: file, Commits: c.made},
				{Time: at(52), When: "before", Path: "/etc/evil", State: file, Commits: c.gone},
				{Time: at(53), When: "after", Op: "delete", Path: "/etc/evil", Commits: c.gone},
			}
			steps := compareSteps(r, nil, nil)
			require.Len(t, steps.differences, c.different, "%v", steps.differences)
			require.Len(t, steps.explained, 2-c.different)
			r.conversations = nil
			story := compareStory(r, nil)
			require.Len(t, story.differences, c.different, "%v", story.differences)
			require.Len(t, story.explained, 2-c.different)
		})
	}
	// What is made anew after that is another file.
	r := incident()
	file := r.notes[1].State
	for i, seconds := range []int{40, 42, 44} {
		before, after := file, (*truth.FileState)(nil)
		if i != 1 {
			before, after = after, before
		}
		r.notes = append(r.notes,
			truth.FileNote{Time: at(seconds), When: "before", Path: "/x", State: before, Commits: "7"},
			truth.FileNote{Time: at(seconds + 1), When: "after", Op: []string{"create", "delete", "create"}[i], Path: "/x", State: after, Commits: "7"})
	}
	var never []bool
	for _, s := range r.steps()[2:] {
		never = append(never, r.neverCommitted(s))
	}
	require.Equal(t, []bool{true, true, false}, never)
}

func connections() []conn {
	number := func(n int64) *int64 { return &n }
	seconds := func(t time.Time) *float64 { s := float64(t.UnixNano()) / 1e9; return &s }
	guest, peer := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	return []conn{
		{TS: seconds(at(30)), OrigH: guest, OrigP: 4000, RespH: peer, RespP: 4444, Proto: "tcp", OrigBytes: number(10), RespBytes: number(5),
			Process: &struct {
				PID  int
				Comm string
			}{20, "bash"}},
		{TS: seconds(at(31)), OrigH: guest, OrigP: 5000, RespH: peer, RespP: 53, Proto: "udp", Service: "dns", Duration: new(float64), OrigBytes: number(60), RespBytes: number(76)},
	}
}

func TestConns(t *testing.T) {
	outage := gaps{{kind: "packets", from: at(33), to: at(34)}}
	for name, c := range map[string]struct {
		change    func(c []conn) []conn
		gaps      gaps
		different int
	}{
		"the same":       {change: func(c []conn) []conn { return c }},
		"one missing":    {change: func(c []conn) []conn { return c[:1] }, different: 1},
		"missing, a gap": {change: func(c []conn) []conn { return c[:1] }, gaps: outage},
		"fewer bytes":    {change: func(c []conn) []conn { *c[1].OrigBytes = 59; return c }, different: 1},
		"open, more bytes since": {change: func(c []conn) []conn {
			*c[0].OrigBytes = 11
			return c
		}},
		"no duration, so no bytes": {change: func(c []conn) []conn {
			c[1].OrigPkts, c[1].RespPkts, c[1].OrigIP, c[1].RespIP = 2, 2, *c[1].OrigBytes+56, *c[1].RespBytes+56
			c[1].Duration, c[1].OrigBytes, c[1].RespBytes = nil, nil, nil
			return c
		}},
		"another service": {change: func(c []conn) []conn { c[1].Service = "http"; return c }, different: 1},
		"another process": {change: func(c []conn) []conn { c[0].Process.PID = 1; return c }, different: 1},
		"no process":      {change: func(c []conn) []conn { c[0].Process = nil; return c }, different: 1},
		"one too many":    {change: func(c []conn) []conn { extra := c[1]; extra.OrigP++; return append(c, extra) }, different: 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := compareConns(incident(), c.change(connections()), c.gaps)
			require.Len(t, got.differences, c.different, "%v", got.differences)
		})
	}
}

func TestFindings(t *testing.T) {
	shell := storyItem{Kind: "finding", Rule: "reverse-shell", Severity: "critical"}
	noise := storyItem{Kind: "finding", Rule: "log-wiping", Severity: "medium"}
	note := storyItem{Kind: "finding", Rule: "log-rotation", Severity: "info"}
	for name, c := range map[string]struct {
		expected  expectation
		items     []storyItem
		different int
	}{
		"as expected":          {expectation{findings: []string{"reverse-shell"}}, []storyItem{shell, note}, 0},
		"missed":               {expectation{findings: []string{"reverse-shell"}}, []storyItem{note}, 1},
		"false alarm":          {expectation{findings: []string{"reverse-shell"}}, []storyItem{shell, noise}, 1},
		"may be told":          {expectation{findings: []string{"reverse-shell"}, also: []string{"log-wiping"}}, []storyItem{shell, noise}, 0},
		"a quiet day":          {expectation{}, []storyItem{note}, 0},
		"alarm on a quiet day": {expectation{}, []storyItem{noise}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := compareFindings(c.expected, c.items)
			require.Len(t, got.differences, c.different, "%v", got.differences)
			require.True(t, got.matched > 0 || c.different > 0)
		})
	}
	require.Zero(t, compareFindings(expectation{}, nil).matched, "nothing was said, so nothing was compared")
}

func TestExpectation(t *testing.T) {
	path := filepath.Join(t.TempDir(), truth.RecordingName)
	read := func(text string) (e expectation, err error) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return e, e.read(path)
	}
	e, err := read("scenario=\"x\"\nfindings=\"reverse-shell log-wiping\"\nalso=\"time-stomp\"\n")
	require.NoError(t, err)
	require.Equal(t, expectation{[]string{"reverse-shell", "log-wiping"}, []string{"time-stomp"}}, e)
	e, err = read("findings=\"\"\n")
	require.NoError(t, err, "nothing is to be found")
	require.Empty(t, e.findings)
	_, err = read("scenario=\"x\"\n")
	require.ErrorContains(t, err, "findings")
	require.Error(t, e.read(path+".gone"))
}

func TestNothingComparedIsNotTheSame(t *testing.T) {
	require.False(t, print(io.Discard, []*report{{name: "empty"}}))
	require.True(t, print(io.Discard, []*report{{name: "full", matched: 1}}))
}
