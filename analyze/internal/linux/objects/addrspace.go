package objects

import "errors"

// AddressSpaces lists the tasks that own an address space, by the list of all
// top page tables that the kernel keeps to spread its own mappings (pgd_list,
// arch/x86/mm/pgtable.c). What takes a process off the lists of tasks leaves
// this one alone: without it the process would fault in the kernel.
func (v *View) AddressSpaces(visit func(task uint64)) error {
	head, ok := v.K.Symbol("pgd_list")
	mm := v.K.At(0, "mm_struct")
	if !ok || !mm.Has("owner") {
		return errNoOwners
	}
	link, back, typ := "pt_list", "pt_mm", "ptdesc"
	if p := v.K.At(0, typ); !p.Has(link) || !p.Has(back) { // until 6.5
		link, back, typ = "lru", "pt_mm", "page"
	}
	page := v.K.At(0, typ)
	off := page.Offset(link)
	page.Offset(back)
	if page.Err() != nil {
		return page.Err()
	}
	var bad error
	err := v.ring(head, func(n uint64) bool {
		p := v.K.At(n-off, typ)
		var owner uint64
		if space := p.Ptr(back); space != 0 {
			owner = p.Cast(space, "mm_struct").Ptr("owner")
		}
		if p.Err() != nil {
			bad = p.Err()
		} else if owner != 0 { // none: the last user is exiting, or the firmware's
			visit(owner)
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

// errNoOwners: CONFIG_MEMCG is off.
var errNoOwners = errors.New("kernel does not note who owns an address space")

// NoOwners says whether the kernel was built without what AddressSpaces reads.
func NoOwners(err error) bool { return errors.Is(err, errNoOwners) }

// TaskOf is the task that a struct pid stands for, 0 when it has gone.
func (v *View) TaskOf(pid uint64) (uint64, error) {
	p := v.K.At(pid, "pid")
	node := p.Ptr("tasks.0.first")
	if p.Err() != nil || node == 0 {
		return 0, p.Err()
	}
	off, err := v.pidLink()
	return node - off, err
}

// pidLink is where in a task_struct the list of its number's users is.
func (v *View) pidLink() (uint64, error) {
	task := v.K.At(0, "task_struct")
	link := "pid_links.0"
	if !task.Has(link) {
		link = "pids.0.node" // until 4.18
	}
	off := task.Offset(link)
	return off, task.Err()
}
