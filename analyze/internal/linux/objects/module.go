package objects

import (
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
)

// Module is a loaded kernel module.
type Module struct {
	Addr       uint64 // of struct module
	Name       string
	State      string
	Base, Size uint64 // of its text, and in all, as /proc/modules shows them
	Refs       int64
	Taints     uint64
	Version    string // srcversion
	UsedBy     []string
}

// Module reads the struct module at addr.
func (v *View) Module(addr uint64) (Module, error) {
	o := v.K.At(addr, "module")
	m := Module{Addr: addr, Name: o.Text("name"), Taints: o.Uint("taints")}
	m.State = nameOf(map[int]string{0: "live", 1: "coming", 2: "going", 3: "unformed"}, int(o.Uint("state")))
	if o.Has("refcnt") { // with CONFIG_MODULE_UNLOAD; one is the module's own
		m.Refs = o.Int("refcnt.counter") - 1
	}
	if o.Has("srcversion") {
		m.Version = o.TextAt("srcversion", 64)
	}
	if f := v.K.At(addr, "module"); f.Has("mem") { // 6.4 on
		mem, _ := f.Field("mem")
		m.Base = o.Ptr("mem.0.base")
		for i := uint64(0); i < mem.Count; i++ {
			m.Size += o.Uint(fmt.Sprintf("mem.%d.size", i))
		}
	} else {
		m.Base = o.Ptr("core_layout.base")
		m.Size = o.Uint("core_layout.size") + o.Uint("init_layout.size")
	}
	if o.Err() != nil {
		return m, fmt.Errorf("module at %#x: %w", addr, o.Err())
	}
	var err error
	if m.UsedBy, err = v.moduleUsers(o); err != nil {
		return m, fmt.Errorf("module at %#x: %w", addr, err)
	}
	return m, nil
}

// Plausible says whether the fields can be those of a module: what a search
// finds may be something else.
func (m *Module) Plausible() bool {
	return m.Name != "" && len(m.Name) < 64 && printable(m.Name) && isKernel(m.Base) && m.Size > 0 && m.Size%phys.PageSize == 0 && m.Size < maxModule
}

// maxModule bounds the size of a module believed.
const maxModule = 1 << 28

// moduleUsers are the modules that need this one, most recent first, as
// /proc/modules has them.
func (v *View) moduleUsers(o linux.Object) ([]string, error) {
	if !o.Has("source_list") {
		return nil, nil // without CONFIG_MODULE_UNLOAD
	}
	off := o.Cast(0, "module_use").Offset("source_list")
	if o.Err() != nil {
		return nil, o.Err()
	}
	var out []string
	err := v.ring(o.Member("source_list"), func(n uint64) bool {
		out = append(out, o.Cast(n-off, "module_use").Follow("source", "module").Text("name"))
		return o.Err() == nil
	})
	if err == nil {
		err = o.Err()
	}
	return out, err
}

// ModuleList lists the modules in the kernel's list of them.
func (v *View) ModuleList(visit func(addr uint64)) error {
	head, ok := v.K.Symbol("modules")
	if !ok {
		return fmt.Errorf("kernel has no symbol modules")
	}
	o := v.K.At(0, "module")
	off := o.Offset("list")
	if o.Err() != nil {
		return o.Err()
	}
	return v.ring(head, func(n uint64) bool { visit(n - off); return true })
}

// ModuleObjects lists the modules that have an entry below /sys/module.
func (v *View) ModuleObjects(visit func(addr uint64)) error {
	at, ok := v.K.Symbol("module_kset")
	if !ok {
		return fmt.Errorf("kernel has no symbol module_kset")
	}
	kset, err := v.K.Space.U64(at)
	if err != nil {
		return err
	}
	o := v.K.At(kset, "kset")
	head, off := o.Member("list"), o.Cast(0, "kobject").Offset("entry")
	if o.Err() != nil {
		return o.Err()
	}
	var bad error
	err = v.ring(head, func(n uint64) bool {
		k := v.K.At(n-off, "kobject")
		mod := k.Outer(k.Addr, "module_kobject", "kobj").Ptr("mod")
		if k.Err() != nil {
			bad = k.Err()
		} else if mod != 0 { // what is built in has none
			visit(mod)
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

// ModuleTree lists the modules in the tree by which the kernel looks up whose
// text an address is in (since 4.2; with CONFIG_MODULES_TREE_LOOKUP).
func (v *View) ModuleTree(visit func(addr uint64)) error {
	at, ok := v.K.Symbol("mod_tree")
	if !ok {
		return fmt.Errorf("kernel has no symbol mod_tree")
	}
	root := v.K.At(at, "mod_tree_root")
	first := root.Ptr("root.tree.0.rb_node")
	if root.Err() != nil {
		return root.Err()
	}
	return v.redBlack(root, first, func(n uint64) error {
		node := root.Outer(n, "mod_tree_node", "node.node.0")
		mod := node.Ptr("mod")
		if mod != 0 {
			visit(mod)
		}
		return root.Err()
	})
}

// Where modules can be (arch/x86/include/asm/pgtable_64_types.h: MODULES_VADDR,
// after an image of at least 512 MiB, to MODULES_END).
const (
	modulesFrom = 0xffffffffa0000000
	modulesTo   = 0xffffffffff000000
)

// ModuleScan searches the part of the address space that modules are loaded to
// for the pointer each has to itself, that of its entry below /sys/module.
func (v *View) ModuleScan(visit func(addr uint64)) error {
	o := v.K.At(0, "module")
	self := o.Offset("mkobj.mod")
	if o.Err() != nil {
		return o.Err()
	}
	from := uint64(modulesFrom)
	if end, ok := v.K.Symbol("_end"); ok && end < modulesTo { // KASLR may put the image there, and modules after it
		from = max(from, (end+phys.PageSize-1)&^(phys.PageSize-1))
	}
	var bad error
	err := v.K.Space.Mapped(from, modulesTo, func(va, frame uint64) bool {
		if bad = v.step(); bad != nil {
			return false
		}
		p, err := v.K.Mem.Frame(frame)
		if err != nil {
			return true // not kept: device memory can be mapped here too
		}
		for at := uint64(0); at < phys.PageSize; at += 8 {
			if binary.LittleEndian.Uint64(p[at:])+self == va+at {
				visit(va + at - self)
			}
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return err
}

// redBlack visits a red-black tree in order. It keeps its own stack, bounded: a
// tree of n nodes is at most 2·log2(n) deep.
func (v *View) redBlack(o linux.Object, first uint64, visit func(node uint64) error) error {
	var stack []uint64
	for n := first; n != 0 || len(stack) > 0; {
		for n != 0 {
			if len(stack) > 128 {
				return fmt.Errorf("red-black tree at %#x: deeper than any", first)
			}
			if err := v.step(); err != nil {
				return err
			}
			stack = append(stack, n)
			n = o.Cast(n, "rb_node").Ptr("rb_left")
		}
		if o.Err() != nil {
			return o.Err()
		}
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := visit(top); err != nil {
			return err
		}
		n = o.Cast(top, "rb_node").Ptr("rb_right")
	}
	return o.Err()
}
