package foreign

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/xentape/xentape/format"
)

// The Xen core format: docs/misc/dump-core-format.txt and
// tools/include/xenctrl.h (XEN_ELFNOTE_DUMPCORE_*) in xen.git.
const (
	xenNoteHeader  = 0x2000001
	xenNoteVersion = 0x2000002
	xenMagicPV     = 0xF00FEBED
	xenMagicHVM    = 0xF00FEBEE
	xenInvalidPFN  = ^uint64(0)
	vcpuSizeX64    = 5168 // sizeof(vcpu_guest_context_x86_64_t)
	maxVCPUs       = 8192
)

func openXenCore(m *MemoryImage, f *elfFile) error {
	m.Format = FormatXenCore
	sec, err := f.sections()
	if err != nil {
		return err
	}
	pages, ok := sec[".xen_pages"]
	if !ok {
		return fmt.Errorf("%w: elf core with neither program headers nor a section .xen_pages", ErrUnknownFormat)
	}
	if err := m.xenNotes(f, sec[".note.Xen"]); err != nil {
		return err
	}
	m.xenVCPUs(f, sec[".xen_prstatus"])
	if s, ok := sec[".xen_shared_info"]; ok {
		m.attachSection("xen/shared-info", s)
	}
	if pages.off > uint64(f.size) {
		return fmt.Errorf(".xen_pages at %#x lies beyond the end of the file", pages.off)
	}
	if p2m, ok := sec[".xen_p2m"]; ok {
		m.Guest = GuestPV
		if err := m.xenFrames(f, pages, p2m, 16); err != nil {
			return fmt.Errorf(".xen_p2m: %w", err)
		}
		m.attachments["xen/p2m"] = func() ([]byte, error) { return xenP2M(f, p2m) }
		return nil
	}
	m.Guest = GuestHVM
	pfn, ok := sec[".xen_pfn"]
	if !ok {
		return errors.New("xen core has neither .xen_pfn nor .xen_p2m")
	}
	if err := m.xenFrames(f, pages, pfn, 8); err != nil {
		return fmt.Errorf(".xen_pfn: %w", err)
	}
	return nil
}

// attachSection makes a section available, if it lies in the file.
func (m *MemoryImage) attachSection(name string, s elfSection) {
	if s.off > 1<<62 || s.size > 1<<62 {
		m.warn("attachment %s at %#x, %d bytes, lies outside the file", name, s.off, s.size)
		return
	}
	m.attach(name, int64(s.off), int64(s.size))
}

// xenNotes checks the header note and keeps all notes as attachments.
func (m *MemoryImage) xenNotes(f *elfFile, s elfSection) error {
	notes, err := f.notes(s.off, s.size)
	if err != nil {
		m.warn(".note.Xen: %v", err)
	}
	names := noteNames{}
	for _, n := range notes {
		name := names.next(n.name)
		if n.kind == xenNoteVersion {
			name = "xen/dumpcore-version"
		}
		m.attach(name, n.off, int64(n.length))
		if n.length < 32 || n.kind != xenNoteHeader && n.kind != xenNoteVersion {
			continue
		}
		b := make([]byte, 32)
		if err := readFullAt(f.r, b, n.off); err != nil {
			return fmt.Errorf(".note.Xen at %#x: %w", n.off, err)
		}
		if n.kind == xenNoteVersion { // begins with xen_major_version and xen_minor_version (public/elfnote.h)
			m.Xen = fmt.Sprintf("%d.%d", binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]))
			continue
		}
		magic, pageSize := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[24:])
		if magic != xenMagicPV && magic != xenMagicHVM {
			m.warn(".note.Xen: unknown magic %#x", magic)
		}
		if pageSize != format.PageSize {
			return fmt.Errorf(".note.Xen: page size %d, want %d", pageSize, format.PageSize)
		}
	}
	return nil
}

// xenVCPUs makes each vcpu_guest_context available as xen/vcpu/N.
func (m *MemoryImage) xenVCPUs(f *elfFile, s elfSection) {
	size := s.entrySize
	if size == 0 && s.size%vcpuSizeX64 == 0 {
		size = vcpuSizeX64
	}
	if s.size == 0 {
		m.warn("no .xen_prstatus: the vCPU registers are not in the file")
		return
	}
	if size == 0 || s.size%size != 0 || s.size/size > maxVCPUs {
		m.warn(".xen_prstatus: %d bytes in entries of %d", s.size, size)
		return
	}
	for i := range s.size / size {
		m.attachSection(fmt.Sprintf("xen/vcpu/%d", i), elfSection{off: s.off + i*size, size: size})
	}
}

// xenFrames maps .xen_pages by the frame numbers in table, whose entries are
// width bytes and start with the frame number. Entries of ~0 are padding.
func (m *MemoryImage) xenFrames(f *elfFile, pages, table elfSection, width uint64) error {
	n := table.size / width
	if have := pages.size / format.PageSize; n > have {
		m.warn("%d frame numbers for %d pages: the rest is ignored", n, have)
		n = have
	}
	return eachEntry(f, table, n, width, func(i uint64, e []byte) error {
		pfn := binary.LittleEndian.Uint64(e)
		if pfn == xenInvalidPFN {
			return nil
		}
		return m.pages.add(run{pfn, 1, int64(pages.off + i*format.PageSize), format.PageData})
	})
}

// eachEntry calls visit for the first n entries of a table, reading it in
// pieces so that memory does not depend on a size from the file.
func eachEntry(f *elfFile, table elfSection, n, width uint64, visit func(i uint64, e []byte) error) error {
	const batch = 4096
	buf := make([]byte, batch*width)
	for i := uint64(0); i < n; i += batch {
		b := buf[:min(batch, n-i)*width]
		if err := f.at(b, table.off+i*width); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		for k := uint64(0); k*width < uint64(len(b)); k++ {
			if err := visit(i+k, b[k*width:(k+1)*width]); err != nil {
				return fmt.Errorf("entry %d: %w", i+k, err)
			}
		}
	}
	return nil
}

// xenP2M turns the {pfn, gmfn} pairs of .xen_p2m into one little-endian mfn a
// pfn, ~0 where there is none: the form of the attachment "xen/p2m".
func xenP2M(f *elfFile, table elfSection) ([]byte, error) {
	n := table.size / 16
	var last uint64
	err := eachEntry(f, table, n, 16, func(_ uint64, e []byte) error {
		if pfn := binary.LittleEndian.Uint64(e); pfn != xenInvalidPFN {
			last = max(last, pfn+1)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf(".xen_p2m: %w", err)
	}
	if err := checkP2M(last, n); err != nil {
		return nil, fmt.Errorf(".xen_p2m: %w", err)
	}
	out := make([]byte, last*8)
	for i := range out {
		out[i] = 0xff
	}
	err = eachEntry(f, table, n, 16, func(_ uint64, e []byte) error {
		if pfn := binary.LittleEndian.Uint64(e); pfn != xenInvalidPFN {
			copy(out[pfn*8:], e[8:16])
		}
		return nil
	})
	return out, err
}

// checkP2M refuses a table of last entries for a guest of n pages when it is out
// of proportion: a ballooned guest has holes, but one whose p2m is nearly all
// holes is not real.
func checkP2M(last, n uint64) error {
	if last > 64*n+1<<16 || last*8 > maxAttachment {
		return fmt.Errorf("p2m up to pfn %#x for %d pages", last, n)
	}
	return nil
}
