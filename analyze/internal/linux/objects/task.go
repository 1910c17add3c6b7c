package objects

import (
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux"
)

// Task flags and states (include/linux/sched.h).
const (
	flagKernelThread = 0x00200000 // PF_KTHREAD

	exitDead   = 0x10 // also set while it is taken off the lists
	exitZombie = 0x20
	taskDead   = 0x80
	taskNew    = 0x800 // from fork until it is first woken

	maxPID = 4 << 20 // PID_MAX_LIMIT
)

// stackEndMagic is at the far end of every kernel stack in use
// (include/uapi/linux/magic.h).
const stackEndMagic = 0x57AC6E9D

// Task is one schedulable entity, read from its task_struct.
type Task struct {
	Addr, Phys    uint64 // of the task_struct, virtual and guest-physical
	PID, TGID     int
	PPID          int // thread group of the real parent
	Parent        uint64
	Leader        uint64 // group leader's task_struct
	Comm          string
	Start         uint64 // nanoseconds of the guest's CLOCK_BOOTTIME
	State         string // letter as in /proc/PID/stat
	ExitState     uint64
	ExitCode      uint64
	New           bool // being made by fork: not yet in every list
	KernelThread  bool
	Signal, MM    uint64
	Files, FS     uint64
	Cred, NSProxy uint64
	PIDStruct     uint64
}

// Task reads the task_struct at addr.
func (v *View) Task(addr uint64) (Task, error) {
	if err := v.charge(costTask); err != nil {
		return Task{Addr: addr}, err
	}
	o := v.K.At(addr, "task_struct")
	t := Task{
		Addr: addr, Phys: v.Locate(addr),
		PID: int(o.Int("pid")), TGID: int(o.Int("tgid")),
		Parent: o.Ptr("real_parent"), Leader: o.Ptr("group_leader"),
		Comm: o.Text("comm"),
		// real_start_time until 5.5 (cf25e24db61c), the same clock.
		Start:     o.First("start_boottime", "real_start_time"),
		ExitState: o.Uint("exit_state"), ExitCode: o.Uint("exit_code"),
		KernelThread: o.Uint("flags")&flagKernelThread != 0,
		Signal:       o.Ptr("signal"), MM: o.Ptr("mm"),
		Files: o.Ptr("files"), FS: o.Ptr("fs"),
		Cred: o.Ptr("real_cred"), NSProxy: o.Ptr("nsproxy"),
	}
	state := o.First("__state", "state")
	t.State, t.New = stateLetter(state, t.ExitState), state&taskNew != 0
	if o.Has("thread_pid") {
		t.PIDStruct = o.Ptr("thread_pid")
	} else { // until 4.19 (2c4704756cab)
		t.PIDStruct = o.Ptr("pids.0.pid")
	}
	if err := o.Err(); err != nil {
		return t, fmt.Errorf("task_struct at %#x: %w", addr, err)
	}
	if t.Parent != 0 {
		p := v.K.At(t.Parent, "task_struct")
		t.PPID = int(p.Int("tgid"))
		if err := p.Err(); err != nil {
			return t, fmt.Errorf("task_struct at %#x: parent: %w", addr, err)
		}
	}
	return t, nil
}

// Plausible says whether the fields can be those of a task: a pointer into
// nowhere reads as garbage.
func (t *Task) Plausible() bool {
	return t.PID >= 0 && t.PID <= maxPID && t.TGID >= 0 && t.TGID <= maxPID && t.Comm != "" && isKernel(t.Parent)
}

// Leaving says whether it is being taken off the lists, or has been.
func (t *Task) Leaving() bool { return t.ExitState&exitDead != 0 }

// isKernel says whether an address is in the kernel's half.
func isKernel(a uint64) bool { return a >= 0xff00000000000000 }

// stateLetter follows task_state_index and task_state_array of fs/proc/array.c.
func stateLetter(state, exit uint64) string {
	const (
		idle     = 0x402 // TASK_UNINTERRUPTIBLE|TASK_NOLOAD
		rtLock   = 0x1000
		frozen   = 0x8000
		reported = 0x7f
	)
	switch {
	case state&idle == idle && exit == 0:
		return "I"
	case state&(rtLock|frozen) != 0:
		state |= 2
	}
	s := (state | exit) & reported
	letters := "RSDTtXZP"
	i := 0
	for ; s != 0; s >>= 1 {
		i++
	}
	return letters[i : i+1]
}

// Processes lists the leaders in the kernel's list of tasks.
func (v *View) Processes(visit func(addr uint64)) error {
	first, err := v.K.Object("init_task", "task_struct")
	if err != nil {
		return err
	}
	off := first.Offset("tasks")
	if first.Err() != nil {
		return first.Err()
	}
	return v.ring(first.Addr+off, func(n uint64) bool {
		visit(n - off)
		return true
	})
}

// Threads lists the tasks of one process by its signal structure.
func (v *View) Threads(t *Task, visit func(addr uint64)) error {
	sig, task := v.K.At(t.Signal, "signal_struct"), v.K.At(t.Addr, "task_struct")
	head, off := sig.Member("thread_head"), task.Offset("thread_node")
	if sig.Err() != nil {
		return sig.Err()
	}
	if task.Err() != nil {
		return task.Err()
	}
	if t.Signal == 0 {
		return fmt.Errorf("task_struct at %#x: no signal structure", t.Addr)
	}
	return v.ring(head, func(n uint64) bool {
		visit(n - off)
		return true
	})
}

// ThreadCount is the kernel's own count of a process's threads.
func (v *View) ThreadCount(t *Task) (int, error) {
	sig := v.K.At(t.Signal, "signal_struct")
	n := sig.Int("nr_threads")
	return int(n), sig.Err()
}

// Children lists the child processes of a task.
func (v *View) Children(addr uint64, visit func(addr uint64)) error {
	o := v.K.At(addr, "task_struct")
	head, off := o.Member("children"), o.Offset("sibling")
	if o.Err() != nil {
		return o.Err()
	}
	return v.ring(head, func(n uint64) bool {
		visit(n - off)
		return true
	})
}

// Credentials are a task's real (objective) credentials, as /proc shows.
type Credentials struct {
	UID, EUID, SUID, FSUID uint32
	GID, EGID, SGID, FSGID uint32
	Inheritable, Permitted uint64
	Effective, Bounding    uint64
	Ambient                uint64
	UserNS                 uint64 // inode number
	Groups                 []uint32
}

// maxGroups is NGROUPS_MAX.
const maxGroups = 65536

// Credentials reads a task's credentials.
func (v *View) Credentials(t *Task) (Credentials, error) {
	o := v.K.At(t.Cred, "cred")
	id := func(name string) uint32 { return uint32(o.Uint(name + ".val")) }
	c := Credentials{
		UID: id("uid"), EUID: id("euid"), SUID: id("suid"), FSUID: id("fsuid"),
		GID: id("gid"), EGID: id("egid"), SGID: id("sgid"), FSGID: id("fsgid"),
		Inheritable: capabilities(o, "cap_inheritable"), Permitted: capabilities(o, "cap_permitted"),
		Effective: capabilities(o, "cap_effective"), Bounding: capabilities(o, "cap_bset"),
		Ambient: capabilities(o, "cap_ambient"),
	}
	if ns := o.Ptr("user_ns"); ns != 0 {
		c.UserNS = o.Cast(ns, "user_namespace").Uint("ns.inum")
	}
	if o.Err() == nil {
		c.Groups = v.groups(o)
	}
	if o.Err() != nil {
		return c, fmt.Errorf("cred at %#x: %w", t.Cred, o.Err())
	}
	return c, nil
}

// groups reads the supplementary groups.
func (v *View) groups(cred linux.Object) []uint32 {
	g := cred.Follow("group_info", "group_info")
	n, at := g.Uint("ngroups"), g.Member("gid")
	if cred.Err() != nil || n == 0 {
		return nil
	}
	if n > maxGroups {
		cred.Fail(fmt.Errorf("group_info at %#x: %d groups", g.Addr, n))
		return nil
	}
	b := make([]byte, 4*n)
	if err := v.charge(int(n)); err != nil {
		cred.Fail(err)
	} else if _, err := v.K.Space.Read(at, b); err != nil {
		cred.Fail(err)
	}
	if cred.Err() != nil {
		return nil
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return out
}

// capabilities reads a kernel_cap_t: two words until 6.3, one since, the same
// bytes.
func capabilities(o linux.Object, path string) uint64 {
	b := o.Raw(path, 8)
	var v uint64
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v
}
