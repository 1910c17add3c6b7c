package imagetest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Vmlinux is an ELF file as a symbol file is: type information, and what names the
// kernel it is of; parts that are empty are left out.
func Vmlinux(btf, buildID []byte, banner string) []byte {
	type part struct {
		name string
		typ  elf.SectionType
		data []byte
		size uint64 // of an entry
		link uint32
	}
	const base = 0xffffffff82000000 // where .rodata is linked to
	var note []byte
	if buildID != nil {
		for _, w := range []uint32{4, uint32(len(buildID)), 3} { // NT_GNU_BUILD_ID
			note = binary.LittleEndian.AppendUint32(note, w)
		}
		note = append(append(note, "GNU\x00"...), buildID...)
	}
	var syms bytes.Buffer
	_ = binary.Write(&syms, binary.LittleEndian, []elf.Sym64{{}, {Name: 1, Shndx: 3, Value: base + 16, Size: uint64(len(banner))}})
	parts := []part{
		{name: ".BTF", typ: elf.SHT_PROGBITS, data: btf},
		{name: ".notes", typ: elf.SHT_NOTE, data: note},
		{name: ".rodata", typ: elf.SHT_PROGBITS, data: append(make([]byte, 16), banner+"\n\x00"...)},
		{name: ".strtab", typ: elf.SHT_STRTAB, data: []byte("\x00linux_banner\x00")},
		{name: ".symtab", typ: elf.SHT_SYMTAB, data: syms.Bytes(), size: elf.Sym64Size, link: 4},
		{name: ".shstrtab", typ: elf.SHT_STRTAB, data: []byte{0}},
	}
	names := &parts[len(parts)-1].data
	sections := []elf.Section64{{}}
	at := uint64(64)
	for i := range parts {
		p := &parts[i]
		s := elf.Section64{Name: uint32(len(*names)), Type: uint32(p.typ), Off: at, Link: p.link, Entsize: p.size, Addralign: 1}
		*names = append(*names, p.name+"\x00"...)
		if s.Size = uint64(len(p.data)); p.name == ".rodata" {
			s.Addr = base
		}
		at += s.Size
		sections = append(sections, s)
	}
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: at, Ehsize: 64,
		Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h)
	for _, p := range parts {
		b.Write(p.data)
	}
	_ = binary.Write(&b, binary.LittleEndian, sections)
	return b.Bytes()
}
