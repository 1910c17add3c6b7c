package foreign

import (
	"fmt"

	"github.com/xentape/xentape/format"
)

// openVmcore reads an ELF core with program headers: QEMU's dump-guest-memory
// (dump/dump.c), /proc/vmcore and makedumpfile -E. p_paddr is the
// guest-physical address. Where segments overlap, as the kernel text does in
// /proc/vmcore, they hold the same memory and the first is used.
func openVmcore(m *MemoryImage, f *elfFile) error {
	m.Format = FormatELFVmcore
	if f.machine != elfMachineX64 && f.machine != elfMachine386 {
		return fmt.Errorf("elf machine %d: only x86 cores are read", f.machine)
	}
	names := noteNames{}
	var loads []elfSegment
	err := f.segments(func(i int, s elfSegment) error {
		switch s.kind {
		case segmentLoad:
			loads = append(loads, s)
		case segmentNote:
			notes, err := f.notes(s.off, s.fileSz)
			if err != nil {
				m.warn("program header %d: %v", i, err)
			}
			for _, n := range notes {
				m.attach(names.next(n.name), n.off, int64(n.length))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(loads) == 0 {
		return fmt.Errorf("elf core has no PT_LOAD segment")
	}
	for i := len(loads) - 1; i >= 0; i-- { // the page map lets the last win
		if err := m.addLoad(f, loads[i]); err != nil {
			return fmt.Errorf("elf segment %d: %w", i, err)
		}
	}
	return nil
}

// addLoad maps one segment. What p_memsz has beyond p_filesz existed and was
// left out by the tool that wrote the core (a filter, or makedumpfile's dump
// level), so its content is unknown and not zero.
func (m *MemoryImage) addLoad(f *elfFile, s elfSegment) error {
	if s.off > uint64(f.size) {
		m.warn("segment at %#x starts beyond the end of the file, %#x", s.off, f.size)
		s.off = uint64(f.size)
	}
	if s.memSz > s.fileSz {
		first := (s.paddr + s.fileSz + format.PageSize - 1) / format.PageSize
		end := (s.paddr + s.memSz) / format.PageSize
		if s.paddr+s.memSz < s.paddr {
			return fmt.Errorf("p_paddr %#x + p_memsz %#x wraps around", s.paddr, s.memSz)
		}
		if end > first {
			if err := m.pages.add(run{first, end - first, 0, format.PageUnreadable}); err != nil {
				return err
			}
		}
	}
	return m.pages.addBytes(s.paddr, int64(s.off), s.fileSz)
}

// noteNames numbers the notes of each owner in the order of the file.
type noteNames map[string]int

func (n noteNames) next(owner string) string {
	i := n[owner]
	n[owner]++
	if owner == "VMCOREINFO" && i == 0 {
		return "elf/note/VMCOREINFO"
	}
	return fmt.Sprintf("elf/note/%s/%d", owner, i)
}
