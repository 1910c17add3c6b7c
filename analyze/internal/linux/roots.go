package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/analyze/internal/linux/vmcoreinfo"
)

// kernelMap is where every x86-64 kernel maps its own image
// (__START_KERNEL_map, arch/x86/include/asm/page_64_types.h).
const kernelMap = 0xffffffff80000000

// maxRoots bounds the page tables tried when nothing points at the right one.
const maxRoots = 64

// roots lists ways into the kernel's address space, most trustworthy first. An
// error is a way that exists and leads nowhere.
func roots(mem *phys.Memory) iter.Seq2[root, error] {
	return func(yield func(root, error) bool) {
		if b, ok := mem.Source().Attachment("elf/note/VMCOREINFO"); ok {
			if in := vmcoreinfo.Parse(string(b)); in != nil && !yield(fromInfo(in)) {
				return
			}
		}
		var unread phys.Unread
		found := false
		for in := range vmcoreinfo.Find(mem, &unread) {
			found = true
			if !yield(fromInfo(in)) {
				return
			}
		}
		if !found && !yield(root{}, noInfo(unread)) {
			return
		}
		regs := registers(mem)
		if len(regs) == 0 && !yield(root{}, errors.New("no vCPU registers recorded")) {
			return
		}
		for _, r := range regs {
			if !yield(r, nil) {
				return
			}
		}
		for _, r := range structural(mem) {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func noInfo(u phys.Unread) error {
	if u.Frames > 0 {
		return fmt.Errorf("no VMCOREINFO in what could be read; %d frames could not (%w)", u.Frames, u.First)
	}
	return errors.New("no VMCOREINFO in memory")
}

// fromInfo computes the root table from VMCOREINFO: its symbol lies in the
// kernel map, which phys_base relates to physical memory. phys_base may be
// negative.
func fromInfo(in *vmcoreinfo.Info) (root, error) {
	r := root{levels: 4, info: in, from: fmt.Sprintf("VMCOREINFO %s (%s)", addresses(in.At), in.Release())}
	sym, ok := in.Symbol("init_top_pgt")
	if !ok {
		sym, ok = in.Symbol("swapper_pg_dir")
	}
	base, ok2 := in.Number("phys_base")
	if !ok || !ok2 || sym < kernelMap {
		return r, fmt.Errorf("%s: no usable SYMBOL(swapper_pg_dir) and NUMBER(phys_base)", r.from)
	}
	if n, _ := in.Number("pgtable_l5_enabled"); n == 1 {
		r.levels = 5
	}
	r.at = sym - kernelMap + uint64(base)
	return r, nil
}

func addresses(at []uint64) string {
	if len(at) == 0 {
		return "note of the image"
	}
	var s []string
	for _, a := range at {
		s = append(s, fmt.Sprintf("%#x", a))
	}
	return "at " + strings.Join(s, " and ")
}

// registers reads page-table roots from recorded vCPU state, each once.
func registers(mem *phys.Memory) []root {
	var out []root
	seen := map[uint64]bool{}
	for _, name := range mem.Source().Attachments() {
		b, _ := mem.Source().Attachment(name)
		for _, c := range controlRegisters(name, b) {
			frame, mapped := mem.FromMachine(c.cr3 >> 12 & (1<<40 - 1))
			if !mapped || seen[frame] {
				continue
			}
			seen[frame] = true
			levels := 4
			if c.cr4>>12&1 != 0 { // CR4.LA57
				levels = 5
			}
			out = append(out, root{at: frame << 12, levels: levels, from: name + " CR3"})
			// Stopped in user mode with page-table isolation, CR3 is that of the
			// user half; the kernel's is the page below (PTI_PGTABLE_SWITCH_BIT).
			if frame&1 != 0 && !mem.PV() && !seen[frame-1] {
				seen[frame-1] = true
				out = append(out, root{at: (frame - 1) << 12, levels: levels, from: name + " CR3, other half"})
			}
		}
	}
	return out
}

type control struct{ cr3, cr4 uint64 }

// controlRegisters knows three layouts of vCPU state.
func controlRegisters(name string, b []byte) []control {
	at := func(b []byte, cr3, cr4 int) []control {
		return []control{{binary.LittleEndian.Uint64(b[cr3:]), binary.LittleEndian.Uint64(b[cr4:])}}
	}
	switch {
	case strings.HasPrefix(name, "xen/vcpu/") && len(b) >= 5168:
		// vcpu_guest_context_t, xen/include/public/arch-x86/xen.h: ctrlreg[8] at 4984
		return at(b, 4984+3*8, 4984+4*8)
	case strings.HasPrefix(name, "elf/note/QEMU") && len(b) >= 432:
		// QEMUCPUState, qemu target/i386/arch_dump.c: 8 bytes of header, 18
		// registers, 10 segments of 24 bytes, cr[5]
		return at(b, 392+3*8, 392+4*8)
	case name == "xen/hvm-context":
		return hvmControl(b)
	}
	return nil
}

// hvmControl reads every CPU record (typecode 2) of an HVM context
// (xen/include/public/hvm/save.h and arch-x86/hvm/save.h): after 512 bytes of
// FPU state and 18 registers, cr0, cr2, cr3, cr4.
func hvmControl(b []byte) []control {
	var out []control
	for len(b) >= 8 {
		typ, size := binary.LittleEndian.Uint16(b), uint64(binary.LittleEndian.Uint32(b[4:]))
		if b = b[8:]; size > uint64(len(b)) || typ == 0 {
			break
		}
		if typ == 2 && size >= 688 {
			out = append(out, control{binary.LittleEndian.Uint64(b[672:]), binary.LittleEndian.Uint64(b[680:])})
		}
		b = b[size:]
	}
	return out
}

// structural looks for top-level tables by their shape: the last entry leads to
// the table of the kernel map. Every process shares it, so one is enough; the
// half that page-table isolation gives to user mode leads nowhere and is
// weeded out by the next step.
func structural(mem *phys.Memory) []root {
	var out []root
	seen := map[uint64]bool{}
	mem.Scan(nil, func(frame uint64, p *phys.Page) bool {
		last := binary.LittleEndian.Uint64(p[511*8:])
		if last&1 == 0 || last&0x80 != 0 || seen[last] {
			return true
		}
		next, ok := mem.FromMachine(last >> 12 & (1<<40 - 1))
		if !ok {
			return true
		}
		q, err := mem.Frame(next)
		if err != nil {
			return true
		}
		// level3_kernel_pgt: entry 510 is the image, 511 the fixmap
		// (arch/x86/kernel/head_64.S); with five levels one more table is between.
		levels := 4
		if binary.LittleEndian.Uint64(q[510*8:])&1 == 0 {
			levels = 5
		}
		if binary.LittleEndian.Uint64(q[511*8:])&1 == 0 {
			return true
		}
		seen[last] = true
		out = append(out, root{at: frame << 12, levels: levels, from: fmt.Sprintf("page table by shape at %#x", frame<<12)})
		return len(out) < maxRoots
	})
	return out
}
