package objects

// Symbols lists the kernel symbols the package asks for, so that they can be
// looked up in one pass.
func Symbols() []string {
	return []string{
		"init_task", "init_pid_ns", "total_forks", "nr_threads", "page_offset_base", "vmemmap_base",
		"pgd_list", "special_mapping_vmops", "runqueues", "__per_cpu_offset", "nr_cpu_ids", "modules", "module_kset", "mod_tree", "_end", "prb", "super_blocks", "tk_core", "timekeeper_data",
		"log_buf", "log_buf_len", "log_first_idx", "log_first_seq", "log_next_seq",
		"fair_sched_class", "idle_sched_class", "rt_sched_class", "dl_sched_class", "stop_sched_class", "ext_sched_class",
	}
}
