package story

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

const second = int64(1e9)

// base is the wall-clock time of tape time 0 in these tests.
const base = 1_700_000_000 * second

func bytesOf(n uint64) *uint64 { return &n }

func duration(d int64) *network.Seconds { s := network.Seconds(d); return &s }

// incident is the smallest that has everything: a dropper downloaded, run and
// deleted, and a shell on a socket.
func incident() *Input {
	init := process.Process{PID: 1, Comm: "init", Exe: "/sbin/init", Args: []string{"init"}, StartTime: 1, TaskAddress: 0x1000, Grade: process.Seen, FirstSnapshot: 1, LastSnapshot: 2, Snapshot: 2}
	drop := process.Process{PID: 70, PPID: 1, Comm: "kworker/u4:2", Args: []string{"[kworker/u4:2]"}, Exe: "/tmp/.d (deleted)", StartTime: 20 * uint64(second), TaskAddress: 0x2000, Grade: process.Seen, FirstSnapshot: 2, LastSnapshot: 2, Snapshot: 2,
		ExeFile: &process.FileID{Inode: 12, Device: "xvda", Deleted: true}}
	shell := process.Process{PID: 71, PPID: 70, Comm: "sh", Args: []string{"sh", "-i"}, Exe: "/bin/sh", StartTime: 21 * uint64(second), TaskAddress: 0x3000, Grade: process.Seen, FirstSnapshot: 2, LastSnapshot: 2, Snapshot: 2,
		Sockets: []process.Socket{{FD: 0, Family: "inet", Type: "stream", Proto: "tcp", Local: "10.0.0.5", LocalPort: 40000, Remote: "10.0.0.9", RemotePort: 4444, State: "ESTABLISHED", Inode: 900}},
		Files:   []process.File{{FD: 5, Path: "/var/log/app", Flags: 1, FileID: process.FileID{Inode: 30, Device: "xvda"}}}}
	web := process.Process{PID: 50, PPID: 1, Comm: "httpd", Exe: "/usr/sbin/httpd", Args: []string{"httpd"}, StartTime: 2 * uint64(second), TaskAddress: 0x4000, Grade: process.Seen, FirstSnapshot: 1, LastSnapshot: 2, Snapshot: 2,
		Sockets: []process.Socket{{FD: 3, Family: "inet", Type: "stream", Proto: "tcp", Local: "0.0.0.0", LocalPort: 80, Remote: "0.0.0.0", State: "LISTEN", Inode: 800}}}
	id := func(o, r string, op, rp uint16) network.ID {
		return network.ID{OrigH: netip.MustParseAddr(o), OrigP: op, RespH: netip.MustParseAddr(r), RespP: rp}
	}
	return &Input{
		Snapshots: []Snapshot{
			{Number: 1, Time: 10 * second, Realtime: base + 10*second, First: 5, Last: 9, Paused: true, Processes: []process.Process{init, web}},
			{Number: 2, Time: 30 * second, Realtime: base + 30*second, First: 50, Last: 60, Paused: true, Processes: []process.Process{init, web, drop, shell}},
		},
		Processes: []process.Process{init, web, drop, shell},
		Conns: []*network.Conn{
			{TS: network.Seconds(base + 15*second), UID: "Cdown", ID: id("10.0.0.5", "10.0.0.9", 39000, 80), Proto: "tcp", Service: "http", ConnState: "SF", Duration: duration(second), OrigBytes: bytesOf(100), RespBytes: bytesOf(2000), Start: 15 * second, End: 16 * second, FirstRecord: 20, LastRecord: 24},
			{TS: network.Seconds(base + 22*second), UID: "Cshell", ID: id("10.0.0.5", "10.0.0.9", 40000, 4444), Proto: "tcp", ConnState: "S1", Duration: duration(2 * second), OrigBytes: bytesOf(10), RespBytes: bytesOf(20), Start: 22 * second, End: 24 * second, FirstRecord: 40, LastRecord: 44},
			{TS: network.Seconds(base + 12*second), UID: "Cweb", ID: id("10.0.0.7", "10.0.0.5", 5555, 80), Proto: "tcp", ConnState: "SF", Start: 12 * second, End: 13 * second, FirstRecord: 15, LastRecord: 16},
		},
		Transfers: []Transfer{{UID: "Cdown", SHA256: "aa11", Size: 2000, URL: "http://10.0.0.9/d", First: 21, Last: 23, Complete: true}},
		Files: []FileEvent{
			{Op: "create", Path: "/tmp/.d", Type: "file", Inode: 12, Disk: "xvda", Size: 2000, Mode: 0o755, SHA256New: "aa11", Lower: base + 16*second, Upper: base + 17*second, Basis: "crtime", First: 25, Last: 27},
			{Op: "write", Path: "/etc/passwd", Type: "file", Inode: 13, Disk: "xvda", Size: 900, Mode: 0o644, Lower: base + 23*second, Upper: base + 24*second, Basis: "mtime", First: 41, Last: 42, Added: []string{"toor:x:0:0::/root:/bin/sh"}},
			{Op: "write", Path: "/var/log/app", Type: "file", Inode: 30, Disk: "xvda", Size: 90, Mode: 0o644, Lower: base + 29*second, Upper: base + 31*second, Basis: "mtime", First: 61, Last: 62},
			{Op: "delete", Path: "/tmp/.d", Type: "file", Inode: 12, Disk: "xvda", Lower: base + 25*second, Upper: base + 26*second, Basis: "ctime", First: 45, Last: 46},
		},
		Names: map[string][]string{"Cdown": {"10.0.0.9"}}, Boot: base,
	}
}

func tell(t *testing.T, in *Input) *Story {
	t.Helper()
	rules, err := Rules()
	require.NoError(t, err)
	require.Greater(t, len(rules), 15)
	return Tell(in, rules)
}

func findings(s *Story) map[string]string {
	m := map[string]string{}
	for _, it := range s.Items {
		if it.Kind == KindFinding {
			m[it.Rule] = it.Severity
		}
	}
	return m
}

func TestOwners(t *testing.T) {
	in := incident()
	s := tell(t, in)
	require.Nil(t, s.Owners[0], "no snapshot shows who downloaded: unknown, not guessed")
	require.Equal(t, 71, s.Owners[1].PID)
	require.Equal(t, Exact, s.Owners[1].Grade, "an open connection lives on: the later snapshot is inside its life")
	require.Equal(t, []uint64{50, 60}, s.Owners[1].Evidence[0].Records)
	require.Equal(t, 50, s.Owners[2].PID)
	require.Equal(t, Inferred, s.Owners[2].Grade, "the listener accepted it; the accepted socket was not seen")

	in.Conns[1].ConnState = "SF"
	s = tell(t, in)
	require.Equal(t, Inferred, s.Owners[1].Grade, "closed before the snapshot")
}

func TestWriters(t *testing.T) {
	s := tell(t, incident())
	require.Nil(t, s.Writers[1])
	require.Equal(t, 71, s.Writers[2].PID)
	require.Equal(t, Exact, s.Writers[2].Grade)
}

func TestFindings(t *testing.T) {
	s := tell(t, incident())
	require.Equal(t, map[string]string{
		"dropped-executable-deleted":     "critical",
		"imitates-kernel-thread":         "high",
		"reverse-shell":                  "critical",
		"executable-in-temporary-folder": "medium",
		"uid0-account":                   "critical",
		"downloaded-executable":          "medium",
		"downloaded-program-running":     "high",
		"shell-connection":               "high",
	}, findings(s))
	for _, it := range s.Items {
		require.NotEmpty(t, it.Evidence, it.Summary)
		require.NotEmpty(t, it.ID)
	}
}

func TestQuietGuestHasNoFindings(t *testing.T) {
	in := incident()
	in.Processes = in.Processes[:2]
	in.Snapshots[1].Processes = in.Snapshots[1].Processes[:2]
	in.Conns, in.Transfers, in.Files = in.Conns[2:], nil, in.Files[2:3]
	require.Empty(t, findings(tell(t, in)))
}

func TestTheFileNamesItsConnection(t *testing.T) {
	for _, it := range tell(t, incident()).Items {
		if it.Kind == KindFile && it.File.Op == "create" {
			require.Equal(t, "Cdown", it.File.FromConn)
			require.Contains(t, it.Summary, "came over Cdown (http://10.0.0.9/d)")
			return
		}
	}
	t.Fatal("no create")
}

func TestOrderAndRepeat(t *testing.T) {
	a, b := tell(t, incident()), tell(t, incident())
	ja, err := json.Marshal(a.Items)
	require.NoError(t, err)
	jb, err := json.Marshal(b.Items)
	require.NoError(t, err)
	require.Equal(t, string(ja), string(jb))
	ids := map[string]bool{}
	for i := range a.Items {
		require.False(t, ids[a.Items[i].ID], "id of %q is taken", a.Items[i].Summary)
		ids[a.Items[i].ID] = true
		if i > 0 {
			require.LessOrEqual(t, a.Items[i-1].At(), a.Items[i].At())
		}
	}
}

func TestSharedSocketNamesAllHolders(t *testing.T) {
	for name, c := range map[string]struct {
		fd    int
		owner int
		other string
	}{
		"a shell's input, which its commands have too": {0, 71, "pid 72"},
		"inherited, and used":                          {5, 72, "pid 71"},
	} {
		t.Run(name, func(t *testing.T) {
			in := incident()
			shell := &in.Snapshots[1].Processes[3]
			for i := range shell.Sockets {
				shell.Sockets[i].FD = c.fd
			}
			p := *shell
			p.PID, p.StartTime, p.TaskAddress, p.Comm = 72, p.StartTime+1, 0x5000, "sleep"
			in.Snapshots[1].Processes = append(in.Snapshots[1].Processes, p)
			in.Processes = append(in.Processes, p)
			o := tell(t, in).Owners[1]
			require.Equal(t, c.owner, o.PID)
			require.Len(t, o.Evidence, 2)
			require.Contains(t, o.Evidence[1].Detail, c.other)
		})
	}
}

func TestUserRules(t *testing.T) {
	_, err := ParseRules("u.yml", []byte("title: t\nlogsource: {category: registry_event}\ndetection: {s: {a: b}, condition: s}\n"))
	require.ErrorContains(t, err, "registry_event")
	_, err = ParseRules("u.yml", []byte("title: t\nlogsource: {category: file_event, product: windows}\ndetection: {s: {a: b}, condition: s}\n"))
	require.ErrorContains(t, err, "only linux")
	rs, err := ParseRules("u.yml", []byte("title: ours\nid: ours\nlevel: low\nlogsource: {category: network_connection}\ndetection: {s: {DestinationPort: 4444}, condition: s}\n"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"ours": "low"}, findings(Tell(incident(), rs)))
}

func TestSummaryOfManyFiles(t *testing.T) {
	require.Equal(t, "341 files of xvda, /z/a the first", summaryOf(&files.Finding{Volume: "xvda", Count: 341, Paths: []string{"/z/a", "/z/b"}}))
	require.Equal(t, "/etc/passwd", summaryOf(&files.Finding{Volume: "xvda", Path: "/etc/passwd"}))
}
