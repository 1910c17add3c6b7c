package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// psProcess is what the comparison needs of a line of xentape ps.
type psProcess struct {
	PID          int      `json:"pid"`
	PPID         int      `json:"ppid"`
	Comm         string   `json:"comm"`
	Args         []string `json:"args"`
	Exe          string   `json:"exe"`
	Cwd          string   `json:"cwd"`
	UID          int      `json:"uid"`
	GID          int      `json:"gid"`
	StartTime    uint64   `json:"start_time"`
	Threads      int      `json:"threads"`
	KernelThread bool     `json:"kernel_thread"`
	Grade        string   `json:"grade"`
	Sockets      []struct {
		Family     string
		Proto      string
		Local      string
		LocalPort  uint16 `json:"local_port"`
		Remote     string
		RemotePort uint16 `json:"remote_port"`
	}
}

// compareSnapshots compares each point's /proc with the snapshot taken then:
// the points and the snapshots of the tape are in the same order.
func compareSnapshots(v verbs, t *record, info *tapeInfo) ([]*report, error) {
	var memory []snapshot // the tape also has the disks' base images
	for _, s := range info.Snapshots {
		if s.Stream == "memory" {
			memory = append(memory, s)
		}
	}
	if len(memory) != len(t.points) {
		return nil, fmt.Errorf("%d memory snapshots on the tape, %d points in the guest's record", len(memory), len(t.points))
	}
	var reports []*report
	for i, point := range t.points {
		s := memory[i]
		got, err := answer[psProcess](v, "ps", "--at", "#"+strconv.Itoa(s.Number))
		if err != nil {
			return nil, err
		}
		r := compareProcesses(t, look{point, s.Time}, got)
		if !s.Complete {
			// The tape itself says that part of memory is missing.
			r.explained, r.differences = append(r.explained, r.differences...), nil
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// look is the guest's look at a point and the time of the snapshot that
// followed. What began or ended in between is in one of the two and not in the
// other.
type look struct {
	truth.Point
	snapshot time.Time
}

// span is how long after the look, in the guest's nanoseconds, the snapshot was
// taken at the latest.
func (l look) span() int64 { return int64(l.snapshot.Sub(l.Time) + clockSlack) }

func compareProcesses(t *record, point look, got []psProcess) *report {
	r := &report{name: "processes at " + point.Name}
	seen := make(map[int]psProcess)
	for _, p := range got {
		if p.PID == 0 && p.Comm == "" || p.Grade == "residue" {
			continue // the summary line; dead tasks still readable, which /proc does not list
		}
		seen[p.PID] = p
	}
	listed := make(map[int]bool)
	for _, h := range t.hidden {
		if h.Monotonic > point.Monotonic {
			continue
		}
		listed[h.PID] = true
		p, ok := seen[h.PID]
		switch wrong := processFields(h.Process, p); {
		case !ok:
			r.differ("pid %d (%s, hidden from the guest) is missing", h.PID, h.Comm)
		case p.Grade != "hidden":
			r.differ("pid %d (%s, hidden from the guest) is %s", h.PID, h.Comm, p.Grade)
		case len(wrong) > 0:
			r.differ("pid %d (%s, hidden from the guest): %s", h.PID, h.Comm, strings.Join(wrong, "; "))
		default:
			r.matched++
		}
	}
	for _, want := range t.processes[point.Name] {
		listed[want.PID] = true
		p, ok := seen[want.PID]
		if !ok {
			if t.event("exit", want.PID, point) {
				r.explain("pid %d (%s) ended between look and snapshot", want.PID, want.Comm)
			} else {
				r.differ("pid %d (%s, parent %d) is missing", want.PID, want.Comm, want.PPID)
			}
			continue
		}
		wrong := processFields(want, p)
		switch {
		case len(wrong) == 0:
			r.matched++
		case t.event("exec", want.PID, point) || t.event("exit", want.PPID, point):
			r.explain("pid %d changed between look and snapshot: %s", want.PID, strings.Join(wrong, "; "))
		default:
			r.differ("pid %d (%s): %s", want.PID, want.Comm, strings.Join(wrong, "; "))
		}
	}
	for _, pid := range sortedKeys(seen) {
		switch p := seen[pid]; {
		case listed[pid] || pid == 0: // pid 0 is the idle task, which /proc never lists
		case t.event("fork", pid, point):
			r.explain("pid %d (%s) began between look and snapshot", pid, p.Comm)
		default:
			r.differ("pid %d (%s, parent %d, %s) was not there", pid, p.Comm, p.PPID, p.Grade)
		}
	}
	return r
}

// event reports whether the guest logged that event of a process between its
// look at a point and the snapshot.
func (t *record) event(name string, pid int, point look) bool {
	return slices.ContainsFunc(t.lives, func(l truth.Life) bool {
		return l.Event == name && l.PID == pid && l.Monotonic >= point.Monotonic && l.Monotonic-point.Monotonic <= point.span()
	})
}

const nanosecondsPerTick = 10_000_000 // proc(5): USER_HZ is 100

func processFields(want truth.Process, p psProcess) []string {
	var wrong []string
	check := func(field string, want, got any) {
		if want != got {
			wrong = append(wrong, fmt.Sprintf("%s is %v, was %v", field, got, want))
		}
	}
	check("ppid", want.PPID, p.PPID)
	check("kernel_thread", want.KernelThread, p.KernelThread)
	check("uid", want.UID, p.UID)
	check("gid", want.GID, p.GID)
	if got := p.StartTime / nanosecondsPerTick; got != want.StartTicks {
		check("start_time in ticks", want.StartTicks, got)
	}
	if want.KernelThread {
		// /proc shows a worker's current work after its name; the task's comm is the part before.
		if !strings.HasPrefix(want.Comm, p.Comm) {
			check("comm", want.Comm, p.Comm)
		}
		return wrong
	}
	check("comm", want.Comm, p.Comm)
	check("args", strings.Join(want.Args, "\x00"), strings.Join(p.Args, "\x00"))
	check("cwd", want.CWD, p.Cwd)
	check("exe", want.Exe, p.Exe)
	check("sockets", strings.Join(truthSockets(want), " "), strings.Join(psSockets(p), " "))
	if want.Comm != "witness" { // the onlooker itself goes on to write down what it saw
		check("threads", want.Threads, p.Threads)
	}
	return wrong
}

// truthSockets and psSockets write a process's internet sockets alike.
func truthSockets(p truth.Process) []string {
	var out []string
	for _, s := range p.Sockets {
		out = append(out, s.Proto+" "+s.Local+">"+s.Remote)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func psSockets(p psProcess) []string {
	var out []string
	for _, s := range p.Sockets {
		if s.Family != "inet" && s.Family != "inet6" || s.Proto != "tcp" && s.Proto != "udp" {
			continue
		}
		out = append(out, s.Proto+" "+endpoint(s.Local, s.LocalPort, s.Family)+">"+endpoint(s.Remote, s.RemotePort, s.Family))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// endpoint writes an address and port as /proc's reader does; an address that
// is not set is all zeroes there.
func endpoint(address string, port uint16, family string) string {
	if address == "" {
		address = "0.0.0.0"
		if family == "inet6" {
			address = "::"
		}
	}
	return net.JoinHostPort(address, strconv.Itoa(int(port)))
}

func sortedKeys[V any](m map[int]V) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
