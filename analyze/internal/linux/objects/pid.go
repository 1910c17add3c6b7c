package objects

import "fmt"

// maxLevel is MAX_PID_NS_LEVEL.
const maxLevel = 32

// PIDs lists the tasks that the initial pid namespace's index of numbers leads
// to, threads included. Every nested namespace's numbers belong to the same
// struct pid, so this one index has all.
func (v *View) PIDs(visit func(nr int, task uint64)) error {
	ns, err := v.K.Object("init_pid_ns", "pid_namespace")
	if err != nil {
		return err
	}
	root := "idr.idr_rt.xa_head"
	if !ns.Has(root) {
		root = "idr.idr_rt.rnode" // until 4.19
	}
	head := ns.Uint(root)
	first := v.K.At(0, "pid").Offset("tasks.0.first")
	if ns.Err() != nil {
		return ns.Err()
	}
	off, err := v.pidLink()
	if err != nil {
		return err
	}
	var bad error
	err = v.xarray(head, func(index, pid, _ uint64) bool {
		node, err := v.K.Space.U64(pid + first)
		if err != nil {
			if bad == nil {
				bad = fmt.Errorf("pid %d: %w", index, err)
			}
			return true
		}
		if node != 0 { // else the number is only still a group or session id
			visit(int(index), node-off)
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

// NumberIn is a pid as one namespace knows it.
type NumberIn struct {
	NR int
	NS uint64 // inode number of the pid namespace
}

// Numbers are a task's pids, from the initial namespace inwards.
func (v *View) Numbers(t *Task) ([]NumberIn, error) {
	if t.PIDStruct == 0 {
		return nil, nil // released: exited
	}
	p := v.K.At(t.PIDStruct, "pid")
	level, at := p.Uint("level"), p.Member("numbers")
	size := v.K.At(0, "upid").Size()
	if p.Err() != nil {
		return nil, p.Err()
	}
	if level > maxLevel {
		return nil, fmt.Errorf("struct pid at %#x: level %d", p.Addr, level)
	}
	var out []NumberIn
	for i := uint64(0); i <= level; i++ {
		u := p.Cast(at+i*size, "upid")
		n := NumberIn{NR: int(u.Int("nr"))}
		if ns := u.Ptr("ns"); ns != 0 {
			n.NS = u.Cast(ns, "pid_namespace").Uint("ns.inum")
		}
		if u.Err() != nil {
			return out, fmt.Errorf("struct pid at %#x: %w", p.Addr, u.Err())
		}
		if n.NR < 1 || n.NR > maxPID {
			return out, fmt.Errorf("struct pid at %#x: number %d at level %d", p.Addr, n.NR, i)
		}
		out = append(out, n)
	}
	return out, nil
}

// Counters are the kernel's own accounts.
type Counters struct {
	Forks   uint64 // tasks ever created, threads too (total_forks)
	Threads int    // tasks that exist, the idle tasks aside (nr_threads)
	NextPID uint64 // where the next number is searched from
}

// Counters reads them.
func (v *View) Counters() (Counters, error) {
	var c Counters
	var err error
	if c.Forks, err = v.number("total_forks", 8); err != nil {
		return c, err
	}
	n, err := v.number("nr_threads", 4)
	if err != nil {
		return c, err
	}
	c.Threads = int(n)
	ns, err := v.K.Object("init_pid_ns", "pid_namespace")
	if err != nil {
		return c, err
	}
	if ns.Has("idr.idr_next") {
		c.NextPID = ns.Uint("idr.idr_next")
	}
	return c, ns.Err()
}

// number reads a global variable of 4 or 8 bytes.
func (v *View) number(name string, bytes int) (uint64, error) {
	a, ok := v.K.Symbol(name)
	if !ok {
		return 0, fmt.Errorf("kernel has no symbol %s", name)
	}
	x, err := v.K.Space.U64(a)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if bytes == 4 {
		x &= 0xffffffff
	}
	return x, nil
}
