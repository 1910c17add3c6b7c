package objects

import (
	"bytes"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/paging"
)

// maxArea bounds what is read of arguments and of the environment, each. Together
// they are at most three quarters of the default stack's 8 MiB (fs/exec.c,
// bprm_stack_limits).
const maxArea = 6 << 20

// Memory is a process's address space.
type Memory struct {
	Addr                  uint64
	PGD                   uint64 // guest-physical address of the top table
	ArgStart, ArgEnd      uint64
	EnvStart, EnvEnd      uint64
	BrkStart, Brk         uint64
	StackStart, VDSO, Exe uint64 // Exe: struct file
	space                 *paging.Space
	o                     linux.Object
	v                     *View
}

// Memory reads the address space of a task that has one.
func (v *View) Memory(t *Task) (*Memory, error) {
	o := v.K.At(t.MM, "mm_struct")
	m := &Memory{
		Addr: t.MM, o: o, v: v, ArgStart: o.Uint("arg_start"), ArgEnd: o.Uint("arg_end"), EnvStart: o.Uint("env_start"), EnvEnd: o.Uint("env_end"),
		BrkStart: o.Uint("start_brk"), Brk: o.Uint("brk"), StackStart: o.Uint("start_stack"), Exe: o.Ptr("exe_file"),
	}
	if o.Has("context.vdso") {
		m.VDSO = o.Ptr("context.vdso")
	}
	pgd := o.Ptr("pgd")
	if o.Err() != nil {
		return nil, fmt.Errorf("mm_struct at %#x: %w", t.MM, o.Err())
	}
	pa, err := v.K.Space.Translate(pgd)
	if err != nil {
		return nil, fmt.Errorf("mm_struct at %#x: pgd: %w", t.MM, err)
	}
	m.PGD, m.space = pa, v.K.Space.User(pa)
	return m, nil
}

// Args is the argument vector as /proc/PID/cmdline has it
// (fs/proc/base.c get_mm_cmdline): where a process has written over the end of
// its arguments, the text goes on into the environment's place up to a NUL.
func (m *Memory) Args() ([]string, error) {
	b, err := m.area(m.ArgStart, m.ArgEnd)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	if b[len(b)-1] != 0 && m.EnvStart == m.ArgEnd {
		more, _ := m.area(m.EnvStart, m.EnvEnd)
		if i := bytes.IndexByte(more, 0); i >= 0 {
			more = more[:i]
		}
		b = append(b, more...)
		if i := bytes.IndexByte(b, 0); i >= 0 {
			b = b[:i]
		}
		return []string{string(b)}, nil
	}
	return fields(b), nil
}

// Env is the environment as /proc/PID/environ has it, empty strings left out.
func (m *Memory) Env() ([]string, error) {
	b, err := m.area(m.EnvStart, m.EnvEnd)
	var out []string
	for _, s := range fields(b) {
		if s != "" {
			out = append(out, s)
		}
	}
	return out, err
}

// area reads user memory; on a fault it returns what lies before it.
func (m *Memory) area(from, to uint64) ([]byte, error) {
	if to < from || from == 0 {
		return nil, nil
	}
	n := to - from
	if n > maxArea {
		n = maxArea
	}
	if m.v.text -= int(n); m.v.text < 0 {
		return nil, fmt.Errorf("more than %d bytes of arguments in all: %w", maxText, ErrTooMuch)
	}
	b := make([]byte, n)
	got, err := m.space.Read(from, b)
	if err == nil && to-from > maxArea {
		err = fmt.Errorf("%d bytes, of which %d are kept", to-from, maxArea)
	}
	return b[:got], err
}

func fields(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	b = bytes.TrimSuffix(b, []byte{0})
	var out []string
	for _, f := range bytes.Split(b, []byte{0}) {
		out = append(out, string(f))
	}
	return out
}

// Region is one vm_area_struct.
type Region struct {
	Addr       uint64
	Start, End uint64
	Flags      uint64
	Offset     uint64 // bytes into the file
	File       uint64 // struct file, 0 when anonymous
	Name       string // given by prctl(PR_SET_VMA_ANON_NAME)
	// Special: the kernel's own, put there by _install_special_mapping (the vdso, its
	// data, the out-of-line slots of uprobes), and what it calls it: "[vdso]".
	Special     bool
	SpecialName string
}

// Flags of a region (include/linux/mm.h).
const (
	RegionRead   = 1
	RegionWrite  = 2
	RegionExec   = 4
	RegionShared = 0x80 // VM_MAYSHARE, which /proc shows as 's'
)

// Regions lists a process's regions, ascending: from the maple tree (6.1 on), or
// the list before it.
func (v *View) Regions(m *Memory, visit func(Region)) error {
	if m.o.Has("mm_mt") {
		return v.maple(m, visit)
	}
	next := m.o.Ptr("mmap")
	last := uint64(0)
	for next != 0 && m.o.Err() == nil {
		r, err := v.region(next)
		if err != nil {
			return err
		}
		if r.Start < last || r.End <= r.Start {
			return fmt.Errorf("vm_area_struct at %#x: [%#x, %#x) is out of order", next, r.Start, r.End)
		}
		last = r.End
		visit(r)
		if err := v.step(); err != nil {
			return err
		}
		next = v.K.At(next, "vm_area_struct").Ptr("vm_next")
	}
	return m.o.Err()
}

func (v *View) region(addr uint64) (Region, error) {
	if err := v.charge(costRegion); err != nil {
		return Region{}, err
	}
	o := v.K.At(addr, "vm_area_struct")
	r := Region{Addr: addr, Start: o.Uint("vm_start"), End: o.Uint("vm_end"), Flags: o.Uint("vm_flags"), File: o.Ptr("vm_file")}
	if r.File != 0 {
		r.Offset = o.Uint("vm_pgoff") << 12
	}
	if o.Has("anon_name") { // with CONFIG_ANON_VMA_NAME
		if at := o.Ptr("anon_name"); at != 0 {
			// A string of its own after a reference count (include/linux/mm_types.h).
			if n := v.K.At(at, "anon_vma_name"); n.Err() == nil {
				r.Name, _ = v.K.Space.CString(n.Member("name"), 80) // ANON_VMA_NAME_MAX_LEN
			}
		}
	}
	if ops, ok := v.K.Symbol("special_mapping_vmops"); ok && o.Has("vm_ops") && o.Ptr("vm_ops") == ops {
		r.Special, r.SpecialName = true, v.specialName(o.Ptr("vm_private_data"))
	}
	if o.Err() != nil {
		return r, fmt.Errorf("vm_area_struct at %#x: %w", addr, o.Err())
	}
	return r, nil
}

// specialName reads the name of a struct vm_special_mapping; "" where it cannot be
// read.
func (v *View) specialName(mapping uint64) string {
	name, known := v.specials[mapping]
	if !known {
		if m := v.K.At(mapping, "vm_special_mapping"); m.Err() == nil {
			if at := m.Ptr("name"); m.Err() == nil {
				name, _ = v.K.Space.CString(at, 64)
			}
		}
		v.specials[mapping] = name
	}
	return name
}

// Read reads a process's memory; on a fault it says how much it got.
func (m *Memory) Read(va uint64, dst []byte) (int, error) { return m.space.Read(va, dst) }

// ExePath reads the file a process executes; ok is false when it has none.
func (v *View) ExePath(m *Memory) (f File, ok bool, err error) {
	if m.Exe == 0 {
		return File{}, false, nil
	}
	f, err = v.File(m.Exe)
	return f, err == nil, err
}
