//go:build linux

package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The process that gives its privilege up is this test's binary, started again.
const role = "XENTAPE_SANDBOX_TEST"

func TestMain(m *testing.M) {
	if everyThread(unix.SYS_GETPID, 0, 0, 0) == unix.ENOTSUP {
		fmt.Println("a binary with cgo cannot change all its threads; xentaped has none, and without cgo these tests run")
		return
	}
	if dir := os.Getenv(role); dir != "" {
		os.Exit(prisoner(dir))
	}
	os.Exit(m.Run())
}

// prisoner tries what it should not be able to do, from a thread that was there before
// and from new ones, and says for each attempt whether it worked.
func prisoner(dir string) int {
	inside, outside := filepath.Join(dir, "inside"), filepath.Join(dir, "outside")
	kept, err := os.OpenFile(filepath.Join(outside, "kept"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	rules := Rules{Read: []string{"/proc"}, Write: []string{inside}, Create: true, Sockets: os.Getenv("SOCKETS") != ""}
	if os.Getenv("NO_CREATE") != "" {
		rules.Create = false
	}
	old := make(chan func() bool)
	answers := make(chan bool)
	go func() {
		runtime.LockOSThread()
		for f := range old {
			answers <- f()
		}
	}()
	old <- func() bool { return true }
	<-answers
	report := Enter(rules)
	out := map[string]any{"report": report.String()}
	try := func(name string, f func() bool) {
		old <- f
		out[name] = []bool{f(), <-answers}
	}
	opens := func(name string, flags int) func() bool {
		return func() bool {
			f, err := os.OpenFile(name, flags, 0o600)
			if err == nil {
				f.Close()
			}
			return err == nil
		}
	}
	socket := func(family, kind int) func() bool {
		return func() bool {
			fd, err := unix.Socket(family, kind, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err == nil
		}
	}
	try("read outside", opens(filepath.Join(outside, "secret"), os.O_RDONLY))
	try("write outside", opens(filepath.Join(outside, "new"), os.O_WRONLY|os.O_CREATE))
	try("reopen for writing", opens(fmt.Sprintf("/proc/self/fd/%d", kept.Fd()), os.O_RDWR))
	try("read what is allowed", opens("/proc/self/status", os.O_RDONLY))
	try("write what is allowed", opens(filepath.Join(inside, "new"), os.O_WRONLY|os.O_CREATE))
	try("internet socket", socket(unix.AF_INET, unix.SOCK_STREAM))
	try("packet socket", socket(unix.AF_PACKET, unix.SOCK_RAW))
	try("netlink socket", socket(unix.AF_NETLINK, unix.SOCK_RAW))
	try("unix socket", socket(unix.AF_UNIX, unix.SOCK_STREAM))
	try("run a program", func() bool { return exec.Command("/bin/true").Run() == nil })
	try("signal the parent", func() bool { return unix.Kill(os.Getppid(), 0) == nil })
	try("load a program into the kernel", func() bool {
		_, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, 0, 0)
		return e != unix.EPERM
	})
	try("keep tapes", func() bool { return keepTapes(inside) == nil })
	try("write what was open", func() bool { _, err := kept.Write([]byte("x")); return err == nil })
	// Go goes on: threads, memory, time, collection.
	done := make(chan int)
	for i := range 8 {
		go func() { time.Sleep(time.Millisecond); done <- len(bytes.Repeat([]byte{1}, i<<20)) }()
	}
	for range 8 {
		<-done
	}
	runtime.GC()
	out["status"] = statusLines()
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return 1
	}
	return 0
}

// keepTapes does what the service does below its directories: a directory for each
// guest, a file that grows and is renamed, a link to keep it by, a control socket.
func keepTapes(dir string) error {
	guest, err := os.MkdirTemp(dir, "guest")
	if err != nil {
		return err
	}
	name, pinned := filepath.Join(guest, "a.xtape"), filepath.Join(guest, "pinned")
	f, err := os.OpenFile(name+".next", os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("tape"))
	if err = errors.Join(err, f.Sync(), f.Close(), os.Rename(name+".next", name), os.Mkdir(pinned, 0o700)); err != nil {
		return err
	}
	var st unix.Statfs_t
	err = errors.Join(os.Link(name, filepath.Join(pinned, "a.xtape")), os.Remove(name), unix.Statfs(dir, &st))
	if err != nil {
		return err
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.xtape")); err != nil || len(found) == 0 {
		return fmt.Errorf("%v %w", found, os.ErrNotExist)
	}
	if os.Getenv("SOCKETS") == "" {
		return nil
	}
	l, err := net.Listen("unix", filepath.Join(guest, "s"))
	if err != nil {
		return err
	}
	c, err := net.Dial("unix", filepath.Join(guest, "s"))
	return errors.Join(err, c.Close(), l.Close())
}

// statusLines are those of /proc/self/status that say what a process may.
func statusLines() map[string]string {
	text, _ := os.ReadFile("/proc/self/status")
	out := map[string]string{}
	for line := range bytes.Lines(text) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok {
			out[string(name)] = string(bytes.TrimSpace(value))
		}
	}
	return out
}

func imprison(t *testing.T, env ...string) map[string]any {
	dir := t.TempDir()
	for _, d := range []string{"inside", "outside"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "outside", "secret"), []byte("s"), 0o600))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), role+"="+dir), env...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(text, &out), string(text))
	t.Log(out["report"])
	return out
}

func hasLandlock() bool {
	v, err := LandlockVersion()
	return err == nil && v >= 2
}

func TestNothingIsLeftButTheRules(t *testing.T) {
	out := imprison(t)
	no, yes := []any{false, false}, []any{true, true}
	for _, what := range []string{
		"internet socket", "packet socket", "netlink socket", "unix socket", "run a program",
		"signal the parent", "load a program into the kernel",
	} {
		require.Equal(t, no, out[what], what)
	}
	require.Equal(t, yes, out["read what is allowed"])
	require.Equal(t, yes, out["write what is allowed"])
	require.Equal(t, yes, out["write what was open"])
	status := out["status"].(map[string]any)
	sets := []string{"CapInh", "CapPrm", "CapEff", "CapAmb"}
	if os.Geteuid() == 0 {
		sets = append(sets, "CapBnd")
	}
	for _, set := range sets {
		require.Equal(t, "0000000000000000", status[set], set)
	}
	require.Equal(t, "1", status["NoNewPrivs"])
	require.Equal(t, "2", status["Seccomp"])
	if !hasLandlock() {
		t.Log("this kernel has no Landlock: opening files outside is not tested")
		require.Contains(t, out["report"], "Landlock: not in force")
		return
	}
	require.Contains(t, out["report"], "Landlock: in force")
	for _, what := range []string{"read outside", "write outside", "reopen for writing"} {
		require.Equal(t, no, out[what], what)
	}
}

// Where there is no Landlock either, no file is opened for writing.
func TestNoFileIsOpenedForWritingWithoutLeave(t *testing.T) {
	out := imprison(t, "NO_CREATE=1")
	require.Equal(t, []any{false, false}, out["write what is allowed"])
	require.Equal(t, []any{false, false}, out["reopen for writing"])
	require.Equal(t, []any{true, true}, out["write what was open"])
}

func TestUnixSocketsByRule(t *testing.T) {
	out := imprison(t, "SOCKETS=1")
	require.Equal(t, []any{true, true}, out["unix socket"])
	require.Equal(t, []any{true, true}, out["keep tapes"])
	require.Equal(t, []any{false, false}, out["internet socket"])
}

// A kernel from 6.0 on shows maps to a process without capabilities; asking it costs
// this process nothing of what it has.
func TestMapsShown(t *testing.T) {
	before, err := os.ReadFile("/proc/thread-self/status")
	require.NoError(t, err)
	err = MapsShown()
	var u unix.Utsname
	require.NoError(t, unix.Uname(&u))
	var major int
	_, serr := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.", &major)
	require.NoError(t, serr)
	filter, _ := os.ReadFile("/proc/self/status")
	if major >= 6 && bytes.Contains(filter, []byte("Seccomp:\t0")) {
		require.NoError(t, err)
	}
	after, rerr := os.ReadFile("/proc/thread-self/status") // the process's first thread may be the one given up
	require.NoError(t, rerr)
	capabilities := func(b []byte) []byte {
		_, rest, _ := bytes.Cut(b, []byte("CapEff:"))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		return line
	}
	require.Equal(t, string(capabilities(before)), string(capabilities(after)))
}
