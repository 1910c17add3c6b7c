// Package imagetest opens memory images for the tests of the packages around
// it: ELF cores and Xen dump-core files, as replay.Memory. Programs do not
// import it; they read files through the recorder's importers.
package imagetest

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Image is an opened file.
type Image struct {
	r           io.ReaderAt
	frames      map[uint64]int64 // frame: offset in the file
	extents     []format.Extent
	info        replay.MemoryInfo
	attachments map[string][]byte
	prev        *Image
}

// Open reads the structure of an ELF core, Xen core or LiME file.
func Open(r io.ReaderAt, name string, snapshot int) (*Image, error) {
	m := &Image{r: r, frames: map[uint64]int64{}, attachments: map[string][]byte{}}
	m.info = replay.MemoryInfo{Snapshot: snapshot, Guest: replay.GuestBare, Time: int64(snapshot) * 1e9, Source: name}
	m.info.Conditions.Paused, m.info.Conditions.Complete = true, true
	var magic [4]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil {
		return nil, err
	}
	if string(magic[:]) == "EMiL" { // 0x4c694d45, little-endian
		return m, m.lime()
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if f.Section(".xen_pages") != nil {
		err = m.xen(f)
	} else {
		err = m.core(f)
	}
	m.finish()
	return m, err
}

// lime reads ranges, each with a header of its first and last address.
func (m *Image) lime() error {
	var h [32]byte
	for at := int64(0); ; {
		if _, err := m.r.ReadAt(h[:], at); errors.Is(err, io.EOF) {
			m.finish()
			return nil
		} else if err != nil {
			return err
		}
		first, last := binary.LittleEndian.Uint64(h[8:]), binary.LittleEndian.Uint64(h[16:])
		at += int64(len(h))
		for pa := first; pa < last; pa += format.PageSize {
			m.frames[pa/format.PageSize] = at
			at += format.PageSize
		}
	}
}

func (m *Image) core(f *elf.File) error {
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		for o := uint64(0); o+format.PageSize <= p.Filesz; o += format.PageSize {
			m.frames[(p.Paddr+o)/format.PageSize] = int64(p.Off + o)
		}
	}
	return nil
}

func (m *Image) xen(f *elf.File) error {
	pages := f.Section(".xen_pages")
	width, name := 8, ".xen_pfn"
	m.info.Guest = replay.GuestHVM
	if f.Section(name) == nil {
		width, name = 16, ".xen_p2m"
		m.info.Guest = replay.GuestPV
	}
	s := f.Section(name)
	if s == nil {
		return errors.New("no .xen_pfn and no .xen_p2m")
	}
	b, err := s.Data()
	if err != nil {
		return err
	}
	var p2m []byte
	for i := 0; (i+1)*width <= len(b); i++ {
		pfn := binary.LittleEndian.Uint64(b[i*width:])
		if pfn == ^uint64(0) {
			continue
		}
		m.frames[pfn] = int64(pages.Offset) + int64(i)*format.PageSize
		if width == 16 {
			for uint64(len(p2m)) < (pfn+1)*8 {
				p2m = append(p2m, 0xff)
			}
			copy(p2m[pfn*8:], b[i*width+8:i*width+16])
		}
	}
	if p2m != nil {
		m.attachments["xen/p2m"] = p2m
	}
	if s := f.Section(".xen_prstatus"); s != nil {
		b, err := s.Data()
		for i := 0; err == nil && (i+1)*5168 <= len(b); i++ {
			m.attachments[fmt.Sprintf("xen/vcpu/%d", i)] = b[i*5168 : (i+1)*5168]
		}
	}
	return nil
}

func (m *Image) finish() {
	var all []uint64
	for f := range m.frames {
		all = append(all, f)
	}
	slices.Sort(all)
	m.extents = extents(all)
}

// After makes m the snapshot that follows prev of the same boot, so that Changed
// compares the two.
func (m *Image) After(prev *Image) *Image {
	m.prev = prev
	return m
}

// Attach adds or replaces an attachment.
func (m *Image) Attach(name string, b []byte) { m.attachments[name] = b }

// SetInfo changes what is known of the snapshot.
func (m *Image) SetInfo(change func(*replay.MemoryInfo)) { change(&m.info) }

// Extents implements format.Image.
func (m *Image) Extents() []format.Extent { return m.extents }

// ReadPage implements format.Image.
func (m *Image) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	off, ok := m.frames[n]
	if !ok {
		clear(dst)
		return format.PageAbsent, nil
	}
	if _, err := m.r.ReadAt(dst[:format.PageSize], off); err != nil {
		return format.PageMissing, err
	}
	return format.PageData, nil
}

// Info implements replay.Memory.
func (m *Image) Info() replay.MemoryInfo { return m.info }

// Attachment implements replay.Memory.
func (m *Image) Attachment(name string) ([]byte, bool) {
	b, ok := m.attachments[name]
	return b, ok
}

// Attachments implements replay.Memory.
func (m *Image) Attachments() []string {
	var s []string
	for n := range m.attachments {
		s = append(s, n)
	}
	sort.Strings(s)
	return s
}

// Changed implements replay.Memory by comparing every frame.
func (m *Image) Changed() ([]format.Extent, bool) {
	if m.prev == nil {
		return nil, false
	}
	var out []uint64
	a, b := make([]byte, format.PageSize), make([]byte, format.PageSize)
	for f := range m.frames {
		sa, _ := m.ReadPage(f, a)
		sb, _ := m.prev.ReadPage(f, b)
		if sa != sb || string(a) != string(b) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return extents(out), true
}
