// Package linux finds its way in a Linux guest's memory without symbols from
// outside: VMCOREINFO or vCPU registers give the page tables, these the kernel's
// symbol table, that the type information, and both together every object. Each
// step is checked by the next one, and says where its answer came from.
package linux

import (
	"errors"
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/internal/linux/kallsyms"
	"github.com/xentape/xentape/analyze/internal/linux/paging"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/analyze/internal/linux/types"
	"github.com/xentape/xentape/analyze/internal/linux/vmcoreinfo"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Step is one link of the chain and where its answer came from.
type Step struct {
	Name string `json:"step"`
	From string `json:"from"`
}

// Options are what the user may add to what the memory holds.
type Options struct {
	// Symbols is a BTF file, an ELF file with a .BTF section or an ISF document,
	// as it is or compressed with gzip or zstd,
	// used instead of the guest's own type information. It must match the kernel.
	Symbols []byte
}

// Kernel is the kernel of one boot of a guest, at the snapshot it was last given.
type Kernel struct {
	Mem    *phys.Memory
	Space  *paging.Space
	Info   *vmcoreinfo.Info // nil when memory holds none
	Types  types.Set
	Banner string // linux_banner, without its newline
	Steps  []Step

	table    *kallsyms.Table
	encoding kallsyms.Encoding
	known    map[string]uint64 // symbols asked for so far; 0 = there is none
	isf      *types.ISF
	slide    uint64 // to add to ISF addresses
}

// root is a way into the kernel's address space.
type root struct {
	at     uint64
	levels int
	from   string
	info   *vmcoreinfo.Info
}

// Open finds the kernel in src. The error is an *UnknownGuest when this is not
// Linux, as far as can be seen, and otherwise says which step failed.
func Open(src replay.Memory, o Options) (*Kernel, error) {
	mem, err := phys.New(src)
	if err != nil {
		return nil, err
	}
	x, err := parseSymbols(o.Symbols)
	if err != nil {
		return nil, err
	}
	var failed []error
	for r, err := range roots(mem) {
		if err != nil {
			failed = append(failed, err)
			continue
		}
		k := &Kernel{Mem: mem, Space: paging.New(mem, r.at, r.levels), Info: r.info, known: map[string]uint64{}}
		if n := mem.Rebuilt(); n > 0 {
			k.step("machine frames", "of %d frames, by the guest's own map of its memory", n)
		}
		k.step("page tables", "%s: root %#x, %d levels", r.from, r.at, r.levels)
		if err := k.assemble(x); err != nil {
			var no *Mismatch
			if errors.As(err, &no) {
				return nil, err
			}
			failed = append(failed, fmt.Errorf("%s: %w", r.from, err))
			continue
		}
		return k, nil
	}
	return nil, recognise(mem, failed)
}

func (k *Kernel) step(name, f string, a ...any) {
	k.Steps = append(k.Steps, Step{name, fmt.Sprintf(f, a...)})
}

// assemble goes from page tables to types, and checks the whole on init_task.
func (k *Kernel) assemble(x *external) error {
	if err := k.findSymbols(x); err != nil {
		return err
	}
	k.Preload("linux_banner", "init_top_pgt", "swapper_pg_dir", "init_task", "__start_BTF", "__stop_BTF")
	k.settleRoot()
	if err := k.findTypes(x); err != nil {
		return err
	}
	err := k.checkInitTask()
	if err != nil && x != nil {
		err = &Mismatch{File: "a kernel with other types (" + err.Error() + ")", Guest: k.Banner}
	}
	return err
}

// settleRoot moves from a process's page tables, which end with it, to the
// kernel's own, when these were not what VMCOREINFO gave.
func (k *Kernel) settleRoot() {
	for _, name := range []string{"init_top_pgt", "swapper_pg_dir"} {
		a, ok := k.Symbol(name)
		if !ok {
			continue
		}
		pa, err := k.Space.Translate(a)
		if err != nil || pa == k.Space.Root() {
			return
		}
		own := paging.New(k.Mem, pa, k.Space.Levels())
		was, err1 := k.Space.Translate(k.known["linux_banner"])
		is, err2 := own.Translate(k.known["linux_banner"])
		if err1 == nil && err2 == nil && was == is {
			k.Space = own
			k.step("page tables", "%s: root %#x, where linux_banner is the same", name, pa)
		}
		return
	}
}

// checkInitTask ends the chain: the first task, found by symbol and read by
// type, must be what every kernel makes it.
func (k *Kernel) checkInitTask() error {
	t, err := k.Object("init_task", "task_struct")
	if err != nil {
		return err
	}
	comm, pid, parent := t.Text("comm"), t.Int("pid"), t.Ptr("real_parent")
	next := t.Ptr("tasks.next")
	back := k.At(next, "list_head").Ptr("prev")
	switch {
	case t.Err() != nil:
		return fmt.Errorf("init_task: %w", t.Err())
	case !strings.HasPrefix(comm, "swapper"):
		return fmt.Errorf("init_task at %#x: comm is %q, not swapper", t.Addr, comm)
	case pid != 0 || parent != t.Addr:
		return fmt.Errorf("init_task at %#x: pid %d, real_parent %#x", t.Addr, pid, parent)
	}
	note := "task list closes around it"
	if back != t.Member("tasks") {
		note = "but its neighbour in the task list does not point back"
	}
	k.step("verified", "init_task at %#x is %q, pid 0, its own parent; %s", t.Addr, comm, note)
	return nil
}

// Advance moves to a further snapshot of the same boot and says which frames may
// have changed. It fails when src is not that boot; open it anew then.
func (k *Kernel) Advance(src replay.Memory) (changed []format.Extent, known bool, err error) {
	changed, known, err = k.Mem.Advance(src)
	k.Space.Flush()
	if err != nil {
		return nil, false, err
	}
	if k.Info != nil && !k.Info.Still(k.Mem) {
		return nil, false, errors.New("VMCOREINFO is not where it was: another boot")
	}
	at, ok := k.Symbol("linux_banner")
	if b, err := k.Space.CString(at, 512); !ok || err != nil || strings.TrimSpace(b) != k.Banner {
		return nil, false, errors.New("linux_banner is not where it was: another boot")
	}
	return changed, known, nil
}

// Symbol returns the address of a kernel symbol, false when there is none.
func (k *Kernel) Symbol(name string) (uint64, bool) {
	if a, ok := k.known[name]; ok {
		return a, a != 0
	}
	k.Preload(name)
	a := k.known[name]
	return a, a != 0
}

// Preload looks symbols up in one pass over the table.
func (k *Kernel) Preload(names ...string) {
	want := map[string]bool{}
	for _, n := range names {
		if _, ok := k.known[n]; !ok {
			want[n] = true
			k.known[n] = 0
		}
	}
	if k.table != nil && len(want) > 0 {
		for n, i := range k.table.Index(want) {
			k.known[n] = k.table.Address(k.encoding, i)
		}
	}
	if k.isf != nil {
		for n := range want {
			if a, ok := k.isf.Symbol(n); ok && k.known[n] == 0 {
				if a >= kernelMap { // per-CPU symbols, until 6.14, are offsets and do not move
					a += k.slide
				}
				k.known[n] = a
			}
		}
	}
}

// Table is the kernel's symbol table, nil when symbols came from a file.
func (k *Kernel) Table() *kallsyms.Table { return k.table }
