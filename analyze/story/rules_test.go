package story

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/files"
	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/format"
)

// quiet is a guest in which nothing happens but a web server's answers and a log.
func quiet() *Input {
	in := incident()
	in.Processes = in.Processes[:2]
	in.Snapshots[1].Processes = in.Snapshots[1].Processes[:2]
	in.Conns, in.Transfers, in.Files = in.Conns[2:], nil, in.Files[2:3]
	in.Heard = &Span{From: base + second, To: base + 40*second}
	return in
}

// proc adds a process that began at second 20 and is there at snapshot #2.
func proc(change func(*process.Process)) func(*Input) {
	return func(in *Input) {
		p := process.Process{PID: 90, PPID: 1, Comm: "tool", Exe: "/usr/bin/tool", Args: []string{"tool"}, StartTime: 20 * uint64(second), TaskAddress: 0x9000,
			Grade: process.Seen, FirstSnapshot: 2, LastSnapshot: 2, Snapshot: 2}
		change(&p)
		in.Processes = append(in.Processes, p)
		in.Snapshots[1].Processes = append(in.Snapshots[1].Processes, p)
	}
}

// file adds a change on the disk.
func file(f FileEvent) func(*Input) {
	return func(in *Input) {
		f.Disk, f.Volume, f.Inode, f.Type = "xvda", "xvda", 55, orDefault(f.Type, "file")
		f.Lower, f.Upper, f.First, f.Last = base+21*second, base+22*second, 42, 43
		in.Files = append(in.Files, f)
	}
}

// conn adds a TCP connection from second 22 to 40 that the guest began.
func conn(change func(*network.Conn)) func(*Input) {
	return func(in *Input) {
		c := &network.Conn{TS: network.Seconds(base + 22*second), UID: "Cnew", Proto: "tcp", ConnState: "SF", History: "ShADadFf", OrigSent: format.FromGuest,
			ID:    network.ID{OrigH: netip.MustParseAddr("10.0.0.5"), OrigP: 41000, RespH: netip.MustParseAddr("10.0.0.9"), RespP: 9000},
			Start: 22 * second, End: 40 * second, FirstRecord: 40, LastRecord: 70}
		change(c)
		in.Conns = append(in.Conns, c)
	}
}

func oddity(kind string, fields map[string]any) func(*Input) {
	return func(in *Input) {
		path, _ := fields["path"].(string)
		in.Oddities = append(in.Oddities, Oddity{Rule: kind, Severity: "low", Summary: "something", At: base + 20*second, File: -1, Path: path, Fields: fields, Evidence: []Evidence{{Stream: "xvda", Records: []uint64{42}}}})
	}
}

// graded is a finding of the file analyzer at a level.
func graded(kind, severity string) func(*Input) {
	return func(in *Input) {
		oddity(kind, nil)(in)
		in.Oddities[len(in.Oddities)-1].Severity = severity
	}
}

func all(fs ...func(*Input)) func(*Input) {
	return func(in *Input) {
		for _, f := range fs {
			f(in)
		}
	}
}

// established is a TCP socket to another host.
func established(fd int) process.Socket {
	return process.Socket{FD: fd, Family: "inet", Type: "stream", Proto: "tcp", Local: "10.0.0.5", LocalPort: 41000, Remote: "10.0.0.9", RemotePort: 9000, State: "ESTABLISHED", Inode: 950}
}

// known makes 10.0.0.5 an address of the guest's own.
var known = proc(func(p *process.Process) {
	p.PID, p.TaskAddress = 60, 0x6000
	p.Sockets = []process.Socket{{FD: 3, Family: "inet", Type: "dgram", Proto: "udp", Local: "10.0.0.5", LocalPort: 68, Remote: "0.0.0.0", Inode: 700}}
})

func deletedIn(dir string) func(*process.Process) {
	return func(p *process.Process) {
		p.Exe, p.ExeFile = dir+"/tool (deleted)", &process.FileID{Inode: 77, Device: "xvda", Deleted: true}
	}
}

func memfd(name string) func(*process.Process) {
	return func(p *process.Process) {
		p.Exe, p.ExeFile = "/memfd:"+name+" (deleted)", &process.FileID{Inode: 77, Device: "tmpfs", Deleted: true}
	}
}

// made is the write that put the program of a process on the disk.
func made(f FileEvent) func(*Input) {
	return func(in *Input) {
		f.Op, f.Path, f.Type, f.Disk, f.Volume, f.Inode, f.Mode = "write", "/opt/x", "file", "xvda", "xvda", 12, 0o755
		f.Lower, f.Upper, f.First, f.Last = base+18*second, base+19*second, 38, 39
		in.Files = append(in.Files, f)
	}
}

func runs(inode uint64, deleted bool) func(*process.Process) {
	return func(p *process.Process) {
		p.Exe, p.ExeFile = "/opt/x", &process.FileID{Inode: inode, Device: "xvda", Deleted: deleted}
		if deleted {
			p.Exe += " (deleted)"
		}
	}
}

func both(a, b func(*process.Process)) func(*Input) {
	return proc(func(p *process.Process) { a(p); b(p) })
}

func anonymousCode(p *process.Process) { p.Maps = []process.Map{{Perms: "r-xp", Exec: true}} }

func rawSocket(p *process.Process) {
	p.Sockets = []process.Socket{{FD: 4, Family: "packet", Type: "raw"}}
}

// download is a connection that brought the content with this hash.
func download(sum string, isOrig bool) func(*Input) {
	return all(conn(func(c *network.Conn) { c.Service, c.FirstRecord, c.LastRecord = "http", 30, 36 }), func(in *Input) {
		in.Transfers = append(in.Transfers, Transfer{UID: "Cnew", SHA256: sum, Size: 5000, IsOrig: isOrig, First: 31, Last: 35, Complete: true, Blocks: [][32]byte{{1}, {2}}})
	})
}

func blocks(sums ...byte) (bs []files.Block) {
	for i, n := range sums {
		bs = append(bs, files.Block{Off: uint64(i) * files.BlockSize, Sum: [32]byte{n}})
	}
	return bs
}

func env(vs ...string) func(*process.Process) { return func(p *process.Process) { p.Env = vs } }

// cgi is the environment of a CGI program, for a request that came in conn.
var cgi = env("REMOTE_ADDR=10.0.0.7", "REMOTE_PORT=5555", "QUERY_STRING=x")

// ruleCase has, for one rule, what it is for and what only looks alike.
type ruleCase struct{ fires, not func(*Input) }

var ruleCases = map[string]ruleCase{
	// process.yml
	"deleted-executable":             {proc(deletedIn("/home/u")), proc(deletedIn("/usr/sbin"))},
	"replaced-executable":            {proc(deletedIn("/usr/sbin")), proc(deletedIn("/home/u"))},
	"dropped-executable-deleted":     {all(made(FileEvent{}), proc(runs(12, true))), all(made(FileEvent{}), proc(runs(12, false)))},
	"memfd-executable":               {proc(memfd("x")), proc(memfd("runc_cloned:/proc/self/exe"))},
	"imitates-kernel-thread":         {proc(func(p *process.Process) { p.Args = []string{"[kworker/0:1]"} }), proc(func(p *process.Process) { p.Comm, p.Exe, p.Args, p.KernelThread = "kworker/0:1", "", nil, true })},
	"reverse-shell":                  {proc(func(p *process.Process) { p.Exe, p.Sockets = "/bin/bash", []process.Socket{established(0)} }), proc(func(p *process.Process) { p.Exe, p.Sockets = "/bin/bash", []process.Socket{established(7)} })},
	"anonymous-executable-memory":    {proc(anonymousCode), both(anonymousCode, func(p *process.Process) { p.Exe = "/usr/bin/node" })},
	"unpacked-code":                  {both(anonymousCode, func(p *process.Process) { p.Exe = "/tmp/x" }), proc(anonymousCode)},
	"raw-socket":                     {proc(rawSocket), both(rawSocket, func(p *process.Process) { p.Exe = "/usr/sbin/dhclient" })},
	"raw-socket-dropped":             {both(rawSocket, func(p *process.Process) { p.Exe = "/dev/shm/x" }), proc(rawSocket)},
	"ld-preload":                     {proc(env("LD_PRELOAD=/usr/lib/libjemalloc.so")), proc(env("LD_PRELOAD="))},
	"ld-preload-odd-place":           {proc(env("LD_PRELOAD=/usr/lib/a.so:/tmp/b.so")), proc(env("LD_PRELOAD=/usr/lib/libjemalloc.so"))},
	"executable-in-temporary-folder": {proc(func(p *process.Process) { p.Exe = "/var/tmp/x" }), proc(func(p *process.Process) { p.Exe = "/var/tmpl/x" })},
	"downloaded-program-running":     {all(download("dd", false), made(FileEvent{SHA256New: "dd"}), proc(runs(12, false))), all(download("dd", true), made(FileEvent{SHA256New: "dd"}), proc(runs(12, false)))},
	"outlived-request":               {proc(cgi), proc(env("REMOTE_ADDR=10.0.0.7", "REMOTE_PORT=5556"))},
	"mining-client":                  {proc(func(p *process.Process) { p.Args = []string{"./x", "-o", "stratum+tcp://10.0.0.9:3333"} }), proc(func(p *process.Process) { p.Args = []string{"./x", "-o", "tcp://10.0.0.9:3333"} })},
	// file.yml
	"uid0-account":        {file(FileEvent{Op: "write", Path: "/etc/passwd", Added: []string{"x:x:0:0::/:/bin/sh"}}), file(FileEvent{Op: "write", Path: "/etc/passwd", Added: []string{"x:x:1000:0::/:/bin/sh"}})},
	"new-account":         {file(FileEvent{Op: "write", Path: "/etc/passwd", Added: []string{"x:x:1000:0::/:/bin/sh"}}), file(FileEvent{Op: "write", Path: "/srv/passwd", Added: []string{"x:x:1000:0::/:/bin/sh"}})},
	"cron-persistence":    {file(FileEvent{Op: "create", Path: "/etc/cron.d/x"}), file(FileEvent{Op: "delete", Path: "/etc/cron.d/x"})},
	"systemd-persistence": {file(FileEvent{Op: "write", Path: "/root/.config/systemd/user/x.service"}), file(FileEvent{Op: "write", Path: "/var/lib/systemd/system/x"})},
	"ssh-authorized-keys": {file(FileEvent{Op: "write", Path: "/root/.ssh/authorized_keys"}), file(FileEvent{Op: "write", Path: "/root/.ssh/known_hosts"})},
	"log-wiping":          {file(FileEvent{Op: "write", Path: "/var/log/auth.log", Removed: []string{"sshd: accepted"}}), all(file(FileEvent{Op: "write", Path: "/var/log/auth.log", Added: []string{"sshd: accepted"}}), file(FileEvent{Op: "truncate", Path: "/var/log/longer", Size: 9, SizeOld: bytesOf(3)}))},
	"history-wiping":      {file(FileEvent{Op: "symlink", Path: "/root/.bash_history"}), file(FileEvent{Op: "write", Path: "/root/.bash_history"})},
	"login-records-rewritten": {file(FileEvent{Op: "write", Path: "/var/log/wtmp", SHA256Old: "aa"}), all(
		file(FileEvent{Op: "write", Path: "/var/log/wtmp", SHA256Old: "aa", SizeOld: bytesOf(3)}),
		file(FileEvent{Op: "write", Path: "/var/log/wtmp", SHA256Old: "aa", Shown: true}),
	)},
	"setuid-root":             {file(FileEvent{Op: "chmod", Path: "/x", Mode: 0o4755}), file(FileEvent{Op: "chmod", Path: "/x", Mode: 0o4755, UID: 5})},
	"ld-so-preload":           {file(FileEvent{Op: "create", Path: "/etc/ld.so.preload"}), file(FileEvent{Op: "write", Path: "/etc/ld.so.cache"})},
	"downloaded-executable":   {all(download("dd", false), file(FileEvent{Op: "write", Path: "/x", Mode: 0o755, Blocks: blocks(1, 2, 9)})), all(download("dd", false), file(FileEvent{Op: "write", Path: "/x", Mode: 0o755, Blocks: blocks(1, 8, 9)}))},
	"login-persistence":       {file(FileEvent{Op: "write", Path: "/home/u/.bashrc"}), file(FileEvent{Op: "chmod", Path: "/home/u/.bashrc"})},
	"authentication-changed":  {file(FileEvent{Op: "rename", Path: "/etc/sudoers"}), file(FileEvent{Op: "chmod", Path: "/etc/sudoers"})},
	"kernel-module-installed": {file(FileEvent{Op: "create", Path: "/lib/modules/6.1/extra/x.ko"}), file(FileEvent{Op: "create", Path: "/lib/modules/6.1/modules.dep"})},
	// network.yml
	"shell-connection":       {all(conn(func(*network.Conn) {}), proc(func(p *process.Process) { p.Exe, p.Sockets = "/bin/dash", []process.Socket{established(3)} })), all(conn(func(*network.Conn) {}), proc(func(p *process.Process) { p.Sockets = []process.Socket{established(3)} }))},
	"mining-pool":            {all(conn(func(*network.Conn) {}), func(in *Input) { in.Names["Cnew"] = []string{"eu.supportxmr.com"} }), all(conn(func(*network.Conn) {}), func(in *Input) { in.Names["Cnew"] = []string{"support.com"} })},
	"packets-without-socket": {all(known, conn(func(*network.Conn) {})), all(known, conn(func(c *network.Conn) { c.Closing = 29 * second }))},
	"file-sent-plainly":      {all(conn(func(*network.Conn) {}), sends("ee"), file(FileEvent{Op: "write", Path: "/srv/db", SHA256New: "ee"})), all(conn(func(c *network.Conn) { c.Service = "http" }), sends("ee"), file(FileEvent{Op: "write", Path: "/srv/db", SHA256New: "ee"}))},
	// analyzer.yml
	"data-in-dns-names":           {asks(30, 60), all(asks(15, 63), asks(30, 20))},
	"hidden-process":              {oddity("hidden-process", nil), oddity("view-mismatch", nil)},
	"hidden-thread":               {oddity("hidden-thread", nil), oddity("thread-mismatch", nil)},
	"hidden-module":               {oddity("hidden-module", nil), oddity("module-mismatch", nil)},
	"lists-disagree":              {oddity("view-mismatch", nil), oddity("hidden-process", nil)},
	"task-count":                  {oddity("task-count", nil), oddity("view-mismatch", nil)},
	"socket-without-packets":      {silentSocket(20), silentSocket(0)},
	"silent-socket":               {silentSocket(0), silentSocket(20)},
	"mass-encryption":             {oddity("mass-encryption", nil), oddity("transient-entries", nil)},
	"tamper-below-filesystem":     {oddity("tamper-below-filesystem", nil), oddity("transient-entries", nil)},
	"time-stomp":                  {oddity("time-stomp", nil), oddity("times-kept", nil)},
	"unpacked-times":              {oddity("times-kept", nil), oddity("time-stomp", nil)},
	"overwrite-before-delete":     {oddity("overwrite-before-delete", nil), oddity("transient-entries", nil)},
	"system-binary-changed":       {oddity("system-binary-changed", map[string]any{"path": "/bin/ls"}), oddity("system-binary-changed", map[string]any{"path": "/bin/ls.dpkg-new"})},
	"short-lived-executable":      {graded("short-lived-executable", "high"), graded("short-lived-executable", "info")},
	"executable-replaced-soon":    {graded("short-lived-executable", "info"), graded("short-lived-executable", "high")},
	"executable-in-odd-place":     {oddity("executable-in-odd-place", nil), oddity("transient-entries", nil)},
	"transient-entries":           {graded("transient-entries", "info"), graded("transient-entries", "low")},
	"transient-entries-of-system": {graded("transient-entries", "low"), graded("transient-entries", "info")},
	"persistence":                 {oddity("persistence", nil), oddity("setuid", nil)},
	"setuid":                      {oddity("setuid", nil), oddity("persistence", nil)},
	"account-change":              {oddity("account-change", nil), oddity("persistence", nil)},
	"program-unpacked":            {oddity("system-binary-changed", map[string]any{"path": "/bin/ls.dpkg-new"}), oddity("system-binary-changed", map[string]any{"path": "/bin/ls"})},
	"log-tampering":               {graded("log-tampering", "high"), graded("log-tampering", "medium")},
	"log-removed":                 {graded("log-tampering", "medium"), graded("log-tampering", "high")},
	"log-rotation":                {graded("log-rotation", "info"), graded("log-tampering", "high")},
}

// asks adds questions for that many names, each with labels of that many letters.
func asks(names, letters int) func(*Input) {
	return conn(func(c *network.Conn) {
		c.Proto, c.Service = "udp", "dns"
		for n := range names {
			q := fmt.Sprintf("%0*d.t.example.net", letters, n)
			c.DNS = append(c.DNS, &network.DNS{Header: network.Header{TS: c.TS, FirstRecord: uint64(40 + n)}, Query: &q})
		}
	})
}

// sends is the content that connection Cnew took away.
func sends(sum string) func(*Input) {
	return func(in *Input) {
		in.Transfers = append(in.Transfers, Transfer{UID: "Cnew", SHA256: sum, Size: 5000, IsOrig: true, First: 45, Last: 65, Complete: true})
	}
}

// silentSocket is an established socket without packets, of a process that began
// at a second of the tape.
func silentSocket(at int64) func(*Input) {
	return all(conn(func(c *network.Conn) { c.OrigP = 1; c.Closing = 23 * second }), proc(func(p *process.Process) {
		p.StartTime, p.Sockets = uint64(at*second), []process.Socket{established(5)}
	}))
}

func TestEveryRuleFiresAndDoesNot(t *testing.T) {
	rules, err := Rules()
	require.NoError(t, err)
	require.Empty(t, findings(tell(t, quiet())), "the guest the cases start from is quiet")
	ids := map[string]bool{}
	for _, r := range rules {
		t.Run(r.ID, func(t *testing.T) {
			require.False(t, ids[r.ID], "the id is taken")
			ids[r.ID] = true
			require.NotEmpty(t, r.Description)
			c, ok := ruleCases[r.ID]
			require.True(t, ok, "the rule has no case")
			in := quiet()
			c.fires(in)
			got := findings(tell(t, in))
			require.Contains(t, got, r.ID)
			require.Equal(t, severity(r.Level), got[r.ID])
			in = quiet()
			c.not(in)
			require.NotContains(t, findings(tell(t, in)), r.ID)
		})
	}
	require.Len(t, ids, len(ruleCases), "a case is for no rule")
}

// TestGapExcusesSilence: where packets may be missing, their absence says nothing.
func TestGapExcusesSilence(t *testing.T) {
	in := quiet()
	silentSocket(20)(in)
	in.Gaps = []Gap{{Stream: "vif0", From: base + 25*second, To: base + 26*second, Network: true}}
	got := findings(tell(t, in))
	require.NotContains(t, got, "socket-without-packets")
	require.Equal(t, "info", got["silent-socket"])
	in.Heard = nil
	require.Empty(t, findings(tell(t, in)), "nothing was listened to")
}

// TestNamespacesAndLoopbackAreSilentByNature: a container's addresses are
// translated, and a guest's talk with itself never leaves it.
func TestNamespacesAndLoopbackAreSilentByNature(t *testing.T) {
	for name, change := range map[string]func(*process.Socket){
		"loopback":  func(s *process.Socket) { s.Local, s.Remote = "127.0.0.1", "127.0.0.1" },
		"namespace": func(s *process.Socket) { s.NetNS = 7 },
		"bridge":    func(s *process.Socket) { s.Local, s.Remote = "172.17.0.1", "172.17.0.2" },
		"closing":   func(s *process.Socket) { s.State = "TIME_WAIT" },
	} {
		in := quiet()
		in.Snapshots[1].Processes[0].Namespaces.Net = 3
		all(conn(func(c *network.Conn) { c.OrigP = 1; c.Closing = 23 * second }), proc(func(p *process.Process) {
			s := established(5)
			change(&s)
			p.Sockets = []process.Socket{s}
		}))(in)
		require.Empty(t, findings(tell(t, in)), name)
	}
}

// TestSocketsThatCannotBeMissed: each takes away what the finding rests on.
func TestSocketsThatCannotBeMissed(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"copied while running": func(in *Input) { in.Snapshots[1].Paused = false },
		"not all read":         func(in *Input) { in.Snapshots[1].Processes[0].Incomplete = []string{"files: page not present"} },
		"packets missing":      func(in *Input) { in.Conns[len(in.Conns)-1].Uncertain = true },
		"just begun":           func(in *Input) { in.Conns[len(in.Conns)-1].Start = 29 * second },
		"over before":          func(in *Input) { in.Conns[len(in.Conns)-1].End = 29 * second },
		"never answered":       func(in *Input) { in.Conns[len(in.Conns)-1].History = "S" },
		"forwarded": func(in *Input) {
			in.Conns[len(in.Conns)-1].OrigH = netip.MustParseAddr("172.17.0.2")
		},
	} {
		in := quiet()
		all(known, conn(func(*network.Conn) {}))(in)
		change(in)
		require.NotContains(t, findings(tell(t, in)), "packets-without-socket", name)
	}
}

// TestInodesAreUsedAgain: a process that had another file of the same number open
// did not write this one, and who writes a file need not be who renames it.
func TestInodesAreUsedAgain(t *testing.T) {
	in := incident()
	in.Snapshots[1].Processes[3].Files[0].Path = "/tmp/scratch (deleted)"
	require.Nil(t, tell(t, in).Writers[2])
	in = incident()
	in.Files[2].Op = "delete"
	require.Nil(t, tell(t, in).Writers[2])
}

// TestOneOfSeveralIsNotExact: three workers have the log open.
func TestOneOfSeveralIsNotExact(t *testing.T) {
	in := incident()
	p := in.Snapshots[1].Processes[3]
	p.PID, p.TaskAddress = 72, 0x5000
	in.Snapshots[1].Processes = append(in.Snapshots[1].Processes, p)
	w := tell(t, in).Writers[2]
	require.Equal(t, Inferred, w.Grade)
	require.Equal(t, 72, w.PID)
	require.Equal(t, []int{71}, w.SharedWith)
}

// TestContentGoesBothWays: what the guest served did not come to it.
func TestContentGoesBothWays(t *testing.T) {
	in := incident()
	in.Transfers[0].IsOrig = true
	for _, it := range tell(t, in).Items {
		if it.Kind == KindFile && it.File.Op == "create" {
			require.Empty(t, it.File.FromConn)
			require.Equal(t, "Cdown", it.File.ToConn)
		}
	}
	in = incident()
	in.Transfers[0].First, in.Transfers[0].Last = 90, 95
	for _, it := range tell(t, in).Items {
		if it.File != nil {
			require.Empty(t, it.File.FromConn, "the file was on the disk before its content came")
		}
	}
}

// TestContentInPart: a received file stored in part, shifted, and overwritten in
// part since.
func TestContentInPart(t *testing.T) {
	in := incident()
	in.Transfers[0].Blocks = [][32]byte{{1}, {2}, {3}, {4}}
	f := &in.Files[0]
	f.SHA256New, f.Blocks = "other", []files.Block{{Off: 0, Sum: [32]byte{9}}, {Off: 4096, Sum: [32]byte{3}}, {Off: 8192, Sum: [32]byte{4}}, {Off: 12288, Sum: [32]byte{1}}}
	for _, it := range tell(t, in).Items {
		if it.Kind == KindFile && it.File.Op == "create" {
			require.Equal(t, "Cdown", it.File.FromConn)
			require.Equal(t, []int{2, 4}, []int{it.File.FromBlocks, it.File.Blocks}, "blocks in their place with respect to each other")
			require.Contains(t, it.Summary, "2 of 4 blocks came over Cdown")
		}
	}
	f.Blocks[1].Sum, f.Blocks[2].Sum, f.Blocks[3].Sum = [32]byte{7}, [32]byte{8}, [32]byte{6}
	for _, it := range tell(t, in).Items {
		if it.Kind == KindFile {
			require.Empty(t, it.File.FromConn)
		}
	}
}

// TestRecoveredInPartIsTiedByBlocks: pages of the deleted program are missing.
func TestRecoveredInPartIsTiedByBlocks(t *testing.T) {
	in := incident()
	in.Files = nil
	in.Transfers[0].Blocks = [][32]byte{{1}, {2}, {3}}
	in.Recovered = []Recovered{{PID: 70, Start: 20 * uint64(second), Task: 0x2000, Snapshot: 2, Size: 12288, Missing: 4096, Blocks: blocks(1, 2)}}
	require.Equal(t, "high", findings(tell(t, in))["downloaded-program-running"], "most blocks are equal")
	in.Recovered[0].Blocks = blocks(5, 6, 3)
	require.NotContains(t, findings(tell(t, in)), "downloaded-program-running")
}

// TestFieldsAreThoseOfEvents: every field that an event can have may be asked for,
// and no rule asks for another.
func TestFieldsAreThoseOfEvents(t *testing.T) {
	for id, c := range ruleCases {
		in := quiet()
		c.fires(in)
		j := join(in)
		for i := range in.Processes {
			p := &in.Processes[i]
			require.Subset(t, fields["process_creation"], j.processEvent(p, j.parent(p)).names(), id)
		}
		for i := range in.Files {
			require.Subset(t, fields["file_event"], j.fileEvent(i).names(), id)
		}
		for i := range in.Conns {
			require.Subset(t, fields["network_connection"], j.connEvent(i).names(), id)
		}
	}
}
