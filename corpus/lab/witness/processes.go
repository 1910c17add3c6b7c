//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// dumpProcesses writes every process of proc as a line of path.
func dumpProcesses(proc, path string) error {
	sockets, err := readSockets(filepath.Join(proc, "net"))
	if err != nil {
		return err
	}
	names, err := os.ReadDir(proc)
	if err != nil {
		return err
	}
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(f)
	for _, pid := range pids {
		p, err := readProcess(filepath.Join(proc, strconv.Itoa(pid)), sockets)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if err := enc.Encode(p); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// noteHidden appends a process of proc to hidden.jsonl.
func noteHidden(out, proc, pid string) error {
	sockets, err := readSockets(filepath.Join(proc, "net"))
	if err != nil {
		return err
	}
	p, err := readProcess(filepath.Join(proc, pid), sockets)
	if err != nil {
		return fmt.Errorf("process %s: %w", pid, err)
	}
	f, err := os.OpenFile(filepath.Join(out, truth.HiddenName), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(truth.Hidden{Monotonic: monotonic(), Process: p}), f.Sync(), f.Close())
}

var errGone = errors.New("process ended while it was read")

// pfKthread is PF_KTHREAD of include/linux/sched.h, in field 9 of proc's stat.
const pfKthread = 0x00200000

func readProcess(dir string, sockets map[string]truth.Socket) (truth.Process, error) {
	var p truth.Process
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, errGone
	}
	if err := parseStat(string(stat), &p); err != nil {
		return p, fmt.Errorf("%s/stat: %w", dir, err)
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, errGone
	}
	p.UID, p.GID = statusID(string(status), "Uid:"), statusID(string(status), "Gid:")
	if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(line) > 0 {
		for _, arg := range bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
			p.Args = append(p.Args, string(arg))
		}
	}
	// A kernel thread has no exe; a process that just exited has neither.
	p.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	p.CWD, _ = os.Readlink(filepath.Join(dir, "cwd"))
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil {
			continue
		}
		if s, ok := sockets[target]; ok {
			p.Sockets = append(p.Sockets, s)
		} else if strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "/dev/") && !strings.HasPrefix(target, "/proc") {
			p.Files = append(p.Files, target)
		}
	}
	return p, nil
}

// parseStat reads the fields of proc(5)'s stat that p has room for. comm may
// hold spaces and parentheses; the last ")" ends it.
func parseStat(line string, p *truth.Process) error {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return errors.New("no comm in parentheses")
	}
	f := strings.Fields(line[end+1:])
	if len(f) < 20 {
		return fmt.Errorf("%d fields after comm", len(f))
	}
	p.Comm, p.State = line[open+1:end], f[0]
	var err error
	number := func(s string) int {
		n, e := strconv.Atoi(s)
		err = errors.Join(err, e)
		return n
	}
	p.PID = number(strings.TrimSpace(line[:open]))
	p.PPID = number(f[1])
	p.KernelThread = number(f[6])&pfKthread != 0
	p.Threads = number(f[17])
	p.StartTicks = uint64(number(f[19]))
	return err
}

// statusID is the first (real) id of a line of proc's status.
func statusID(status, key string) int {
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			if n, err := strconv.Atoi(f[1]); err == nil {
				return n
			}
		}
	}
	return -1
}
