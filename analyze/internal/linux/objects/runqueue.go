package objects

import "fmt"

const maxCPUs = 8192 // the largest CONFIG_NR_CPUS

// RunQueues lists the tasks each CPU runs, or has queued in the fair class.
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
	task := v.K.At(0, "task_struct")
	node := task.Offset("se.group_node")
	for cpu := uint64(0); cpu < n; cpu++ {
		off, err := v.K.Space.U64(offsets + 8*cpu)
		if err != nil {
			return err
		}
		rq := v.K.At(rqs+off, "rq")
		if c := rq.Ptr("curr"); c != 0 && rq.Err() == nil {
			visit(c)
		}
		head := rq.Member("cfs_tasks")
		if rq.Err() != nil {
			return fmt.Errorf("runqueue of CPU %d: %w", cpu, rq.Err())
		}
		if task.Err() != nil {
			continue
		}
		if err := v.ring(head, func(n uint64) bool { visit(n - node); return true }); err != nil {
			return fmt.Errorf("runqueue of CPU %d: %w", cpu, err)
		}
	}
	return nil
}
