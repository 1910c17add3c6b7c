package export

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strconv"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay"
)

// Notes and magics of Xen's dump-core format (docs/misc/dump-core-format.txt).
const (
	xenNoteNone    = 0x2000000
	xenNoteHeader  = 0x2000001
	xenNoteVersion = 0x2000002
	xenNoteFormat  = 0x2000003

	xenMagicPV  = 0xf00febed
	xenMagicHVM = 0xf00febee

	xenNoPage = ^uint64(0)
)

type section struct {
	name  string
	typ   elf.SectionType
	data  []byte
	size  uint64
	entry uint64
	align uint64
}

// XenCore writes memory as `xl dump-core` does: .xen_pages with .xen_p2m for a
// PV guest and .xen_pfn for every other.
func XenCore(f File, m replay.Memory) (losses []string, err error) {
	es := m.Extents()
	pv := m.Info().Guest == replay.GuestPV
	var pages uint64
	for _, e := range es {
		pages += e.Count
	}
	index, lost, err := pageIndex(m, es, pv)
	if err != nil {
		return nil, err
	}
	losses = append(losses, lost...)
	var status []byte
	vcpus := 0
	for ; ; vcpus++ {
		ctx, ok := m.Attachment("xen/vcpu/" + strconv.Itoa(vcpus))
		if !ok {
			break
		}
		status = append(status, fit(ctx, vcpuContextSize)...)
	}
	if vcpus == 0 {
		losses = append(losses, "no Xen vCPU context was recorded: .xen_prstatus is empty")
	}
	shared, _ := m.Attachment("xen/shared-info")
	secs := []section{
		{},
		{name: ".shstrtab", typ: elf.SHT_STRTAB},
		{name: ".note.Xen", typ: elf.SHT_NOTE, data: xenNotes(m, pv, vcpus, pages)},
		{name: ".xen_prstatus", typ: elf.SHT_PROGBITS, data: status, entry: vcpuContextSize, align: 8},
	}
	if shared != nil {
		secs = append(secs, section{name: ".xen_shared_info", typ: elf.SHT_PROGBITS, data: fit(shared, format.PageSize), entry: format.PageSize, align: 8})
	}
	secs = append(secs, section{name: ".xen_pages", typ: elf.SHT_PROGBITS, size: pages * format.PageSize, entry: format.PageSize, align: format.PageSize})
	if pv {
		secs = append(secs, section{name: ".xen_p2m", typ: elf.SHT_PROGBITS, data: index, entry: 16, align: 8})
	} else {
		secs = append(secs, section{name: ".xen_pfn", typ: elf.SHT_PROGBITS, data: index, entry: 8, align: 8})
	}
	pagesOff, err := writeSections(f, secs)
	if err != nil {
		return nil, err
	}
	var missing uint64
	off := pagesOff
	for _, e := range es {
		n, err := rebuild.CopyPages(f, off, m, e)
		if err != nil {
			return nil, err
		}
		missing += n
		off += int64(e.Count) * format.PageSize
	}
	return append(losses, rebuild.MissingLoss(missing, "memory")...), nil
}

// pageIndex is .xen_pfn, one frame number a page, or .xen_p2m, with the machine
// frame beside it.
func pageIndex(m replay.Memory, es []format.Extent, pv bool) (index []byte, losses []string, err error) {
	var p2m []byte
	if pv {
		if p2m, _ = m.Attachment("xen/p2m"); p2m == nil {
			losses = append(losses, "no p2m was recorded with this PV guest: machine frames are unknown (~0)")
		}
	}
	for _, e := range es {
		for n := e.Start; n < e.Start+e.Count; n++ {
			index = binary.LittleEndian.AppendUint64(index, n)
			if !pv {
				continue
			}
			mfn := uint64(xenNoPage)
			if n < uint64(len(p2m)/8) {
				mfn = binary.LittleEndian.Uint64(p2m[8*n:])
			}
			index = binary.LittleEndian.AppendUint64(index, mfn)
		}
	}
	return index, losses, nil
}

func xenNotes(m replay.Memory, pv bool, vcpus int, pages uint64) []byte {
	var b bytes.Buffer
	writeNote(&b, Note{Name: "Xen", Type: xenNoteNone})
	magic := uint64(xenMagicHVM)
	if pv {
		magic = xenMagicPV
	}
	var d []byte
	for _, v := range []uint64{magic, uint64(vcpus), pages, format.PageSize} {
		d = binary.LittleEndian.AppendUint64(d, v)
	}
	writeNote(&b, Note{Name: "Xen", Type: xenNoteHeader, Desc: d})
	writeNote(&b, Note{Name: "Xen", Type: xenNoteVersion, Desc: versionNote(m)})
	writeNote(&b, Note{Name: "Xen", Type: xenNoteFormat, Desc: binary.LittleEndian.AppendUint64(nil, 1)}) // format 0.1
	return b.Bytes()
}

// writeSections lays the sections out as xl does: headers first, .xen_pages on a
// page boundary. It returns the offset of .xen_pages.
func writeSections(f File, secs []section) (pagesOff int64, err error) {
	names := []byte{0}
	hdr := make([]elf.Section64, len(secs))
	for i := 1; i < len(secs); i++ {
		hdr[i].Name = uint32(len(names))
		names = append(append(names, secs[i].name...), 0)
	}
	secs[1].data = names
	off := uint64(64 + 64*len(secs))
	for i := 1; i < len(secs); i++ {
		s := &secs[i]
		if s.size == 0 {
			s.size = uint64(len(s.data))
		}
		if s.align > 1 {
			off = (off + s.align - 1) &^ (s.align - 1)
		}
		hdr[i].Type, hdr[i].Off, hdr[i].Size, hdr[i].Addralign, hdr[i].Entsize = uint32(s.typ), off, s.size, max(s.align, 1), s.entry
		if s.name == ".xen_pages" {
			pagesOff = int64(off)
		}
		off += s.size
	}
	h := elf.Header64{Type: uint16(elf.ET_CORE), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: 64, Ehsize: 64, Shentsize: 64, Shnum: uint16(len(secs)), Shstrndx: 1}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	if err := f.Truncate(int64(off)); err != nil {
		return 0, err
	}
	c := &cursor{f: f}
	for _, part := range []any{&h, hdr} {
		if err := binary.Write(c, binary.LittleEndian, part); err != nil {
			return 0, err
		}
	}
	for i, s := range secs {
		if len(s.data) == 0 {
			continue
		}
		if _, err := f.WriteAt(s.data, int64(hdr[i].Off)); err != nil {
			return 0, err
		}
	}
	return pagesOff, nil
}

// fit returns exactly n bytes of b, padded with zeros.
func fit(b []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, b)
	return out
}
