package guard_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/internal/xenabi"
)

// fileXen is a hypervisor whose pause counts are in files, so that processes which
// are killed leave them as Xen would.
type fileXen struct{ dir string }

// mu keeps the goroutines of one process apart; of several, only one acts at a time.
var mu sync.Mutex

func (f fileXen) count(d uint16) int {
	b, _ := os.ReadFile(filepath.Join(f.dir, fmt.Sprint(d)))
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func (f fileXen) add(d uint16, by int) error {
	mu.Lock()
	defer mu.Unlock()
	n := f.count(d) + by
	if n < 0 {
		return syscall.EINVAL
	}
	next := filepath.Join(f.dir, fmt.Sprintf("%d.%d", d, os.Getpid()))
	if err := os.WriteFile(next, []byte(strconv.Itoa(n)), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(f.dir, fmt.Sprint(d)))
}

func (f fileXen) Pause(d uint16) error   { return f.add(d, 1) }
func (f fileXen) Unpause(d uint16) error { return f.add(d, -1) }

func (f fileXen) DisableLogDirty(d uint16) error {
	return os.WriteFile(filepath.Join(f.dir, "untracked"), []byte(fmt.Sprint(d)), 0o600)
}

func (f fileXen) DomainInfo(d uint16) (xenabi.DomainInfo, error) {
	i := xenabi.DomainInfo{Domain: d, Handle: [16]byte{byte(d)}}
	if f.count(d) > 0 {
		i.Flags = xenabi.DomainPaused
	}
	if other, err := os.ReadFile(filepath.Join(f.dir, "other")); err == nil {
		i.Handle[1] = other[0] // another guest has the id
	}
	return i, nil
}

// Roles that this test binary plays when it starts itself.
const (
	roleEnv   = "XENTAPE_GUARD_TEST_ROLE"
	dirEnv    = "XENTAPE_GUARD_TEST_DIR"
	budgetEnv = "XENTAPE_GUARD_TEST_BUDGET"
	guardRun  = "guard"
	recorder  = "recorder"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(dirEnv)
	switch os.Getenv(roleEnv) {
	case guardRun:
		runGuard(dir)
	case recorder:
		runRecorder(dir)
	default:
		os.Exit(m.Run())
	}
}

func runGuard(dir string) {
	f := os.NewFile(guard.FD, "recorder")
	conn, err := net.FileConn(f)
	if err == nil {
		err = guard.Serve(conn, fileXen{dir}, guard.Marks(filepath.Join(dir, "marks")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runRecorder pauses domain 1, says so, and waits for its end.
func runRecorder(dir string) {
	os.Setenv(roleEnv, guardRun)
	budget, err := time.ParseDuration(os.Getenv(budgetEnv))
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := guard.Start(fileXen{dir}, "/proc/self/exe")
	if err == nil {
		err = errors.Join(c.Track(1), c.Pause(1, budget))
	}
	fmt.Println("paused", err)
	time.Sleep(time.Hour)
}

// startRecorder runs a recorder process up to where it has paused domain 1.
func startRecorder(t *testing.T, dir string, budget time.Duration) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+recorder, dirEnv+"="+dir, budgetEnv+"="+budget.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "paused <nil>\n", line)
	require.Equal(t, 1, fileXen{dir}.count(1))
	return cmd
}

func requireRunning(t *testing.T, x fileXen) {
	t.Helper()
	require.Eventually(t, func() bool { return x.count(1) == 0 }, 20*time.Second, 5*time.Millisecond, "the guest stays paused")
}

func TestGuestRunsAfterRecorderIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := startRecorder(t, dir, time.Minute)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	requireRunning(t, fileXen{dir})
	requireUntracked(t, dir)
}

// requireUntracked waits for the last that a guard does when its recorder is gone.
func requireUntracked(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "untracked"))
		return err == nil
	}, 20*time.Second, 5*time.Millisecond, "dirty page tracking stays on")
}

// A recorder that does not die, but stands still, does not keep the guest either.
func TestGuestRunsWhileRecorderIsStopped(t *testing.T) {
	dir := t.TempDir()
	cmd := startRecorder(t, dir, time.Second)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	requireRunning(t, fileXen{dir})
	require.NoFileExists(t, filepath.Join(dir, "untracked"), "the recorder is taken for dead")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	requireUntracked(t, dir)
}

// guardOf finds the guard process of a recorder.
func guardOf(t *testing.T, recorder int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", recorder, recorder))
	if err != nil || len(strings.Fields(string(b))) == 0 {
		// The thread that started the guard need not be the main one.
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", recorder))
		for _, n := range names {
			if c, _ := os.ReadFile(n); len(strings.Fields(string(c))) > 0 {
				b = c
			}
		}
	}
	fields := strings.Fields(string(b))
	require.Len(t, fields, 1)
	pid, err := strconv.Atoi(fields[0])
	require.NoError(t, err)
	return pid
}

func TestGuestRunsAfterGuardIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := startRecorder(t, dir, time.Minute)
	defer cmd.Wait()
	defer cmd.Process.Kill()
	require.NoError(t, syscall.Kill(guardOf(t, cmd.Process.Pid), syscall.SIGKILL))
	requireRunning(t, fileXen{dir})
}

func TestMarksFreeTheGuestAfterBothAreKilled(t *testing.T) {
	dir := t.TempDir()
	x := fileXen{dir}
	cmd := startRecorder(t, dir, time.Minute)
	keeper := guardOf(t, cmd.Process.Pid)
	// Stopped first, so that neither sees the other die.
	require.NoError(t, syscall.Kill(keeper, syscall.SIGSTOP))
	require.NoError(t, syscall.Kill(cmd.Process.Pid, syscall.SIGSTOP))
	require.NoError(t, syscall.Kill(keeper, syscall.SIGKILL))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Equal(t, 1, x.count(1))
	done, err := guard.UnpauseMarked(guard.Marks(filepath.Join(dir, "marks")), x)
	require.NoError(t, err)
	require.Equal(t, []uint16{1}, done)
	require.Zero(t, x.count(1))
	done, err = guard.UnpauseMarked(guard.Marks(filepath.Join(dir, "marks")), x)
	require.NoError(t, err)
	require.Empty(t, done)
}

// connect runs a guard in this process.
func connect(t *testing.T, x fileXen) (c *guard.Client, done chan error) {
	ours, theirs := net.Pipe()
	done = make(chan error, 1)
	go func() { done <- guard.Serve(theirs, x, guard.Marks(filepath.Join(x.dir, "marks"))) }()
	return guard.NewClient(ours, x), done
}

func TestBudgetEndsThePause(t *testing.T) {
	x := fileXen{t.TempDir()}
	c, done := connect(t, x)
	require.NoError(t, c.Pause(1, 50*time.Millisecond))
	requireRunning(t, x)
	err := c.Unpause(1)
	require.ErrorIs(t, err, guard.ErrExpired)
	var expired *guard.Expired
	require.ErrorAs(t, err, &expired)
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	require.Positive(t, expired.PauseEnded())
	require.LessOrEqual(t, expired.PauseEnded(), now.Nano())
	require.ErrorContains(t, c.Unpause(1), "not paused by this guard")
	require.NoError(t, c.Pause(1, time.Minute))
	require.Equal(t, 1, x.count(1))
	require.NoError(t, c.Unpause(1))
	require.Zero(t, x.count(1))
	marks, err := os.ReadDir(filepath.Join(x.dir, "marks"))
	require.NoError(t, err)
	require.Empty(t, marks)
	require.NoError(t, c.Close())
	require.NoError(t, <-done)
}

func TestOperatorsPauseIsKept(t *testing.T) {
	x := fileXen{t.TempDir()}
	require.NoError(t, x.Pause(1))
	c, done := connect(t, x)
	require.NoError(t, c.Pause(1, time.Minute))
	require.NoError(t, c.Close()) // the recorder goes away without unpausing
	require.NoError(t, <-done)
	require.Equal(t, 1, x.count(1))
}

func TestAnotherGuestWithTheSameIDIsLeftAlone(t *testing.T) {
	x := fileXen{t.TempDir()}
	c, done := connect(t, x)
	require.NoError(t, c.Pause(1, time.Minute))
	require.NoError(t, os.WriteFile(filepath.Join(x.dir, "other"), []byte("x"), 0o600))
	require.ErrorContains(t, c.Unpause(1), "another guest")
	require.Equal(t, 1, x.count(1), "a guest under construction was started")
	require.NoError(t, c.Close())
	require.NoError(t, <-done)
}

func TestBudgetsOutOfRangeAreRefused(t *testing.T) {
	x := fileXen{t.TempDir()}
	c, _ := connect(t, x)
	for _, budget := range []time.Duration{0, -1, guard.MaxBudget + 1} {
		require.ErrorContains(t, c.Pause(1, budget), "pause budget")
	}
	require.NoError(t, c.Pause(1, time.Second))
	require.ErrorContains(t, c.Pause(1, time.Second), "already")
	require.Equal(t, 1, x.count(1))
	require.NoError(t, c.Close())
}

func FuzzServe(f *testing.F) {
	f.Add("pause 1 1000000000\nunpause 1\n")
	f.Add("pause 1 99999999999999999999\ntrack 2\npause 2 5\n\n\x00\n")
	f.Add("pause 1 1000\npause 1 1000\nuntrack 1\nunpause 1\nunpause 1")
	f.Fuzz(func(t *testing.T, requests string) {
		x := fileXen{t.TempDir()}
		ours, theirs := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- guard.Serve(theirs, x, "") }()
		go func() {
			for in := bufio.NewScanner(ours); in.Scan(); {
			}
		}()
		_, _ = ours.Write([]byte(requests))
		ours.Close()
		<-done
		for d := range uint16(4) {
			require.LessOrEqual(t, x.count(d), 0, "domain %d was left paused by %q", d, requests)
		}
	})
}
