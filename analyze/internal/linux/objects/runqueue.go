package objects

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux"
)

const maxCPUs = 8192 // the largest CONFIG_NR_CPUS

// RunQueues lists the tasks each CPU runs, or has queued in the fair, real-time
// and deadline classes.
func (v *View) RunQueues(visit func(task uint64)) error {
	rqs, ok := v.K.Symbol("runqueues")
	offsets, ok2 := v.K.Symbol("__per_cpu_offset")
	ids, ok3 := v.K.Symbol("nr_cpu_ids")
	if !ok || !ok2 || !ok3 {
		return fmt.Errorf("kernel has no symbols runqueues, __per_cpu_offset and nr_cpu_ids")
	}
	n, err := v.K.Space.U64(ids)
	if err != nil {
		return err
	}
	if n &= 0xffffffff; n > maxCPUs {
		return fmt.Errorf("nr_cpu_ids is %d", n)
	}
	for cpu := uint64(0); cpu < n; cpu++ {
		off, err := v.K.Space.U64(offsets + 8*cpu)
		if err != nil {
			return err
		}
		if err := v.runQueue(v.K.At(rqs+off, "rq"), visit); err != nil {
			return fmt.Errorf("runqueue of CPU %d: %w", cpu, err)
		}
	}
	return nil
}

func (v *View) runQueue(rq linux.Object, visit func(task uint64)) error {
	if c := rq.Ptr("curr"); c != 0 && rq.Err() == nil {
		visit(c)
	}
	head, node := rq.Member("cfs_tasks"), rq.Cast(0, "task_struct").Offset("se.group_node")
	if rq.Err() != nil {
		return rq.Err()
	}
	if err := v.ring(head, func(n uint64) bool { visit(n - node); return true }); err != nil {
		return err
	}
	if err := v.realTime(rq, visit); err != nil {
		return err
	}
	return v.deadline(rq, visit)
}

// realTime lists a CPU's queue of each real-time priority. Where groups of tasks
// are scheduled as one (CONFIG_RT_GROUP_SCHED), a group's own queue is not
// followed.
func (v *View) realTime(rq linux.Object, visit func(task uint64)) error {
	queues, ok := rq.Field("rt.active.queue")
	task := rq.Cast(0, "task_struct")
	node := task.Offset("rt.run_list")
	if !ok || rq.Err() != nil {
		return rq.Err()
	}
	for i := range queues.Count {
		head := rq.Addr + queues.Offset + i*16 // struct list_head
		if next, err := v.K.Space.U64(head); err != nil || next == 0 {
			return err // 0: a CPU that never was up
		}
		err := v.ring(head, func(n uint64) bool {
			if task.Has("rt.my_q") {
				t := v.K.At(n-node, "task_struct")
				if group := t.Ptr("rt.my_q"); group != 0 || t.Err() != nil {
					return true
				}
			}
			visit(n - node)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deadline lists a CPU's tree of deadlines. Since 6.8 it also holds servers,
// which stand for other classes and are no tasks.
func (v *View) deadline(rq linux.Object, visit func(task uint64)) error {
	first := rq.Ptr("dl.root.rb_root.rb_node")
	node := rq.Cast(0, "task_struct").Offset("dl.rb_node")
	if rq.Err() != nil {
		return rq.Err()
	}
	return v.redBlack(rq, first, func(n uint64) error {
		t := v.K.At(n-node, "task_struct")
		if t.Has("dl.dl_server") && t.Uint("dl.dl_server") != 0 {
			return t.Err()
		}
		visit(n - node)
		return t.Err()
	})
}
