package foreign

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const elfMagic = "\x7fELF"

// Constants of the ELF-64 object file format, version 1.5.
const (
	elfHeaderSize  = 64
	elfProgramSize = 56
	elfSectionSize = 64
	elfTypeCore    = 4
	elfMachine386  = 3
	elfMachineX64  = 62
	elfManyPhdrs   = 0xffff // PN_XNUM: the count is in sh_info of section 0
	segmentLoad    = 1
	segmentNote    = 4
)

// maxHeaders bounds program and section headers. dump-guest-memory writes one
// program header a RAM block, makedumpfile -E one a run of kept pages.
const maxHeaders = 1 << 20

type elfFile struct {
	r             io.ReaderAt
	size          int64
	machine       uint16
	phoff, shoff  uint64
	phnum         uint64
	shnum, shstrx uint64
}

type elfSegment struct {
	kind                             uint32
	off, vaddr, paddr, fileSz, memSz uint64
}

type elfSection struct {
	name                 string
	off, size, entrySize uint64
}

// openELF tells an Xen core from any other: Xen's have no program headers and
// a section .xen_pages (docs/misc/dump-core-format.txt in xen.git).
func openELF(m *MemoryImage, r io.ReaderAt, size int64) error {
	f, err := readELFHeader(r, size)
	if err != nil {
		return err
	}
	if f.phnum == 0 {
		return openXenCore(m, f)
	}
	return openVmcore(m, f)
}

func readELFHeader(r io.ReaderAt, size int64) (*elfFile, error) {
	b := make([]byte, elfHeaderSize)
	if err := readFullAt(r, b, 0); err != nil {
		return nil, fmt.Errorf("elf header: %w", err)
	}
	le := binary.LittleEndian
	switch {
	case b[4] != 2:
		return nil, fmt.Errorf("elf class %d: only 64-bit cores are read", b[4])
	case b[5] != 1:
		return nil, fmt.Errorf("elf data encoding %d: only little-endian cores are read", b[5])
	case le.Uint16(b[16:]) != elfTypeCore:
		return nil, fmt.Errorf("%w: elf type %d is not a core", ErrUnknownFormat, le.Uint16(b[16:]))
	}
	f := &elfFile{
		r: r, size: size, machine: le.Uint16(b[18:]),
		phoff: le.Uint64(b[32:]), shoff: le.Uint64(b[40:]),
		phnum: uint64(le.Uint16(b[56:])), shnum: uint64(le.Uint16(b[60:])), shstrx: uint64(le.Uint16(b[62:])),
	}
	// e_ehsize is not checked: QEMU 7.2 writes 8 there.
	if n := le.Uint16(b[54:]); f.phnum > 0 && n != elfProgramSize {
		return nil, fmt.Errorf("elf e_phentsize %d, want %d", n, elfProgramSize)
	}
	if n := le.Uint16(b[58:]); f.shoff != 0 && n != elfSectionSize {
		return nil, fmt.Errorf("elf e_shentsize %d, want %d", n, elfSectionSize)
	}
	return f, f.extendCounts()
}

// extendCounts reads the counts that did not fit the header from section 0
// (ELF-64, "e_phnum", "e_shnum").
func (f *elfFile) extendCounts() error {
	if f.shoff == 0 || f.phnum != elfManyPhdrs && f.shnum != 0 {
		return nil
	}
	b := make([]byte, elfSectionSize)
	if err := f.at(b, f.shoff); err != nil {
		if f.phnum == elfManyPhdrs {
			return fmt.Errorf("elf section 0: %w", err)
		}
		return nil // a truncated core whose sections are gone is still readable
	}
	if f.phnum == elfManyPhdrs {
		f.phnum = uint64(binary.LittleEndian.Uint32(b[44:]))
	}
	if f.shnum == 0 {
		f.shnum = binary.LittleEndian.Uint64(b[32:])
	}
	if f.phnum > maxHeaders || f.shnum > maxHeaders {
		return fmt.Errorf("elf has %d program and %d section headers, more than %d", f.phnum, f.shnum, maxHeaders)
	}
	return nil
}

// at fills dst from an unsigned offset of the file.
func (f *elfFile) at(dst []byte, off uint64) error {
	if off > uint64(f.size) || uint64(len(dst)) > uint64(f.size)-off {
		return fmt.Errorf("read %d bytes at %#x: %w", len(dst), off, io.ErrUnexpectedEOF)
	}
	return readFullAt(f.r, dst, int64(off))
}

// segments calls visit for each program header in the order of the file.
func (f *elfFile) segments(visit func(i int, s elfSegment) error) error {
	le := binary.LittleEndian
	b := make([]byte, elfProgramSize)
	for i := range f.phnum {
		if err := f.at(b, f.phoff+i*elfProgramSize); err != nil {
			return fmt.Errorf("elf program header %d: %w", i, err)
		}
		s := elfSegment{
			kind: le.Uint32(b), off: le.Uint64(b[8:]), vaddr: le.Uint64(b[16:]),
			paddr: le.Uint64(b[24:]), fileSz: le.Uint64(b[32:]), memSz: le.Uint64(b[40:]),
		}
		if err := visit(int(i), s); err != nil {
			return fmt.Errorf("elf program header %d: %w", i, err)
		}
	}
	return nil
}

// sections reads the section headers with their names, by name. Later ones of
// the same name are ignored.
func (f *elfFile) sections() (map[string]elfSection, error) {
	if f.shnum > 4096 {
		return nil, fmt.Errorf("elf has %d sections, more than 4096", f.shnum)
	}
	b := make([]byte, f.shnum*elfSectionSize)
	if err := f.at(b, f.shoff); err != nil {
		return nil, fmt.Errorf("elf section headers: %w", err)
	}
	le := binary.LittleEndian
	if f.shstrx >= f.shnum {
		return nil, fmt.Errorf("elf e_shstrndx %d of %d sections", f.shstrx, f.shnum)
	}
	str := b[f.shstrx*elfSectionSize:]
	names := make([]byte, min(le.Uint64(str[32:]), 1<<16))
	if err := f.at(names, le.Uint64(str[24:])); err != nil {
		return nil, fmt.Errorf("elf section names: %w", err)
	}
	out := map[string]elfSection{}
	for i := range f.shnum {
		h := b[i*elfSectionSize:]
		s := elfSection{off: le.Uint64(h[24:]), size: le.Uint64(h[32:]), entrySize: le.Uint64(h[56:])}
		if at := uint64(le.Uint32(h)); at < uint64(len(names)) {
			name, _, _ := bytes.Cut(names[at:], []byte{0})
			s.name = string(name)
		}
		if _, dup := out[s.name]; !dup {
			out[s.name] = s
		}
	}
	return out, nil
}

// A note of an ELF file: owner, type and where its description lies.
type elfNote struct {
	name   string
	kind   uint32
	off    int64
	length uint32
}

// Notes are bounded: 8192 vCPUs with two notes each is 4 times what Xen allows.
const maxNotes = 1 << 15

var errNotes = errors.New("malformed notes")

// notes lists the notes in a range of the file. A note that does not fit ends the
// list with an error; those before it are returned.
func (f *elfFile) notes(off, size uint64) ([]elfNote, error) {
	if off > uint64(f.size) || size > uint64(f.size)-off {
		return nil, fmt.Errorf("%w: %#x+%#x lies outside the file", errNotes, off, size)
	}
	var out []elfNote
	end := off + size
	h := make([]byte, 12)
	for off+12 <= end {
		if len(out) >= maxNotes {
			return out, fmt.Errorf("%w: more than %d", errNotes, maxNotes)
		}
		if err := f.at(h, off); err != nil {
			return out, err
		}
		le := binary.LittleEndian
		nameSize, descSize := uint64(le.Uint32(h)), uint64(le.Uint32(h[4:]))
		desc := off + 12 + (nameSize+3)&^3
		next := desc + (descSize+3)&^3
		if nameSize > 256 || desc > end || descSize > end-desc {
			return out, fmt.Errorf("%w: note at %#x: name %d, description %d bytes", errNotes, off, nameSize, descSize)
		}
		name := make([]byte, nameSize)
		if err := f.at(name, off+12); err != nil {
			return out, err
		}
		out = append(out, elfNote{cleanNoteName(name), le.Uint32(h[8:]), int64(desc), uint32(descSize)})
		off = next
	}
	return out, nil
}

// cleanNoteName keeps what may stand in an attachment's name.
func cleanNoteName(b []byte) string {
	b = bytes.TrimRight(b, "\x00")
	for i, c := range b {
		if c <= ' ' || c > '~' || c == '/' {
			b[i] = '_'
		}
	}
	return string(b)
}
