package export

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"sort"
	"strconv"
	"strings"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay"
)

// Note is one ELF note of a core file.
type Note struct {
	Name string
	Type uint32
	Desc []byte
}

// ELF writes memory as an ELF vmcore: one PT_LOAD per extent by physical
// address, and the notes: those recorded from an imported vmcore, or else
// NT_PRSTATUS made from the recorded vCPU contexts, and extra. Readers that need
// VMCOREINFO as a note (drgn, crash) get it through extra.
func ELF(f File, m replay.Memory, extra []Note) (losses []string, err error) {
	es := m.Extents()
	notes := recordedNotes(m)
	if len(notes) == 0 {
		notes = prstatusNotes(m)
		if len(notes) == 0 {
			losses = append(losses, "no processor state was recorded: the vmcore has no NT_PRSTATUS")
		}
	}
	var nb bytes.Buffer
	for _, n := range append(notes, extra...) {
		writeNote(&nb, n)
	}
	phnum := len(es) + 1
	if phnum >= 0xffff {
		return nil, &TooManyRangesError{Ranges: len(es)}
	}
	const ehsize, phsize = 64, 56
	notesOff := uint64(ehsize + phnum*phsize)
	dataOff := (notesOff + uint64(nb.Len()) + format.PageSize - 1) &^ (format.PageSize - 1)

	c := &cursor{f: f}
	h := elf.Header64{Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: ehsize, Ehsize: ehsize, Phentsize: phsize, Phnum: uint16(phnum), Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	ph := []elf.Prog64{{Type: uint32(elf.PT_NOTE), Off: notesOff, Filesz: uint64(nb.Len()), Memsz: uint64(nb.Len())}}
	off := dataOff
	for _, e := range es {
		size := e.Count * format.PageSize
		ph = append(ph, elf.Prog64{Type: uint32(elf.PT_LOAD), Off: off, Paddr: e.Start * format.PageSize, Filesz: size, Memsz: size, Flags: uint32(elf.PF_R)})
		off += size
	}
	for _, part := range []any{&h, ph, nb.Bytes()} {
		if err := binary.Write(c, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	if err := f.Truncate(int64(off)); err != nil {
		return nil, err
	}
	var missing uint64
	for i, e := range es {
		n, err := rebuild.CopyPages(f, int64(ph[i+1].Off), m, e)
		if err != nil {
			return nil, err
		}
		missing += n
	}
	losses = append(losses, rebuild.MissingLoss(missing, "memory")...)
	return append(losses, pvLoss(m)...), nil
}

// TooManyRangesError says that memory is more scattered than the format's
// header can count.
type TooManyRangesError struct{ Ranges int }

func (e *TooManyRangesError) Error() string {
	return "memory lies in " + strconv.Itoa(e.Ranges) + " ranges, more than an ELF header can hold: use xen-core, lime or raw"
}

func writeNote(b *bytes.Buffer, n Note) {
	var h [12]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(n.Name)+1))
	binary.LittleEndian.PutUint32(h[4:], uint32(len(n.Desc)))
	binary.LittleEndian.PutUint32(h[8:], n.Type)
	b.Write(h[:])
	b.WriteString(n.Name)
	b.WriteByte(0)
	pad4(b)
	b.Write(n.Desc)
	pad4(b)
}

func pad4(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

// recordedNotes returns the notes that an imported vmcore had. Their attachment
// names are elf/note/NAME/TYPE/INDEX or elf/note/NAME/INDEX.
func recordedNotes(m replay.Memory) []Note {
	type indexed struct {
		Note
		index int
	}
	var all []indexed
	for _, name := range m.Attachments() {
		rest, ok := strings.CutPrefix(name, "elf/note/")
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		index, err := strconv.Atoi(parts[len(parts)-1])
		if err != nil {
			index, parts = 0, append(parts, "")
		}
		desc, _ := m.Attachment(name)
		n := indexed{Note{Name: parts[0], Desc: desc}, index}
		switch {
		case len(parts) == 3:
			typ, err := strconv.ParseUint(parts[1], 0, 32)
			if err != nil {
				continue
			}
			n.Type = uint32(typ)
		case n.Name == "CORE":
			n.Type = uint32(elf.NT_PRSTATUS)
		}
		all = append(all, n)
	}
	sort.SliceStable(all, func(i, j int) bool {
		if all[i].Name != all[j].Name {
			return all[i].Name < all[j].Name
		}
		return all[i].index < all[j].index
	})
	out := make([]Note, len(all))
	for i, n := range all {
		out[i] = n.Note
	}
	return out
}

// sizeof(struct elf_prstatus) on x86-64 and where pr_pid and pr_reg lie in it
// (linux/elfcore.h).
const (
	prstatusSize = 336
	prstatusPid  = 32
	prstatusRegs = 112
)

// Where user_regs lies in Xen's vcpu_guest_context (public/arch-x86/xen.h), and
// the order of cpu_user_regs there (arch-x86/xen-x86_64.h).
const (
	vcpuContextSize = 5168
	vcpuUserRegs    = 520
	vcpuGSBaseUser  = 5160
	vcpuFSBase      = 5144
)

// prstatusNotes makes NT_PRSTATUS from the recorded Xen vCPU contexts.
func prstatusNotes(m replay.Memory) []Note {
	var out []Note
	for i := 0; ; i++ {
		ctx, ok := m.Attachment("xen/vcpu/" + strconv.Itoa(i))
		if !ok {
			return out
		}
		if len(ctx) < vcpuContextSize {
			continue
		}
		desc := make([]byte, prstatusSize)
		binary.LittleEndian.PutUint32(desc[prstatusPid:], uint32(i+1))
		// struct user_regs_struct wants: r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx
		// dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs. Xen has the
		// first sixteen in the same order, then rip cs rflags rsp ss es ds fs gs.
		regs := ctx[vcpuUserRegs:]
		copy(desc[prstatusRegs:], regs[:15*8])
		slot := func(n int, v uint64) { binary.LittleEndian.PutUint64(desc[prstatusRegs+8*n:], v) }
		at := func(n int) uint64 { return binary.LittleEndian.Uint64(regs[8*n:]) }
		sel := func(n int) uint64 { return uint64(binary.LittleEndian.Uint16(regs[8*n:])) }
		slot(15, ^uint64(0)) // orig_ax: not in a system call
		slot(16, at(16))
		slot(17, sel(17))
		slot(18, at(18))
		slot(19, at(19))
		slot(20, sel(20))
		slot(21, binary.LittleEndian.Uint64(ctx[vcpuFSBase:]))
		slot(22, binary.LittleEndian.Uint64(ctx[vcpuGSBaseUser:]))
		slot(23, sel(22))
		slot(24, sel(21))
		slot(25, sel(23))
		slot(26, sel(24))
		out = append(out, Note{Name: "CORE", Type: uint32(elf.NT_PRSTATUS), Desc: desc})
	}
}
