package foreign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/xentape/xentape/format"
)

// An xl save file is three formats in one another: xl's header
// (tools/xl/xl.h, struct save_file_header), libxl's stream
// (docs/specs/libxl-migration-stream.pandoc) and libxc's
// (docs/specs/libxc-migration-stream.pandoc).
const (
	xlSaveMagic     = "Xen saved domain, xl format\n \x00 \r"
	xlByteOrder     = 0x01020304
	xlFlagStreamV2  = 2
	libxlIdent      = "LibxlFmt"
	libxcIdent      = 0x58454e46 // "XENF", big-endian
	maxXLConfig     = 1 << 24
	maxStreamRecord = 1 << 31
)

// Record types of the libxl stream.
const (
	libxlEnd             = 0
	libxlLibxcContext    = 1
	libxlXenstoreData    = 2
	libxlEmulatorContext = 3
	libxlCheckpointEnd   = 4
)

// Record types of the libxc stream.
const (
	libxcEnd        = 0x0
	libxcPageData   = 0x1
	libxcP2MFrames  = 0x3
	libxcVCPUBasic  = 0x4
	libxcSharedInfo = 0x7
	libxcTSCInfo    = 0x8
	libxcHVMContext = 0x9
	libxcHVMParams  = 0xa
	libxcGuestPV    = 1
	libxcGuestHVM   = 2
)

// Page types of PAGE_DATA, in bits 60–63 of each pfn.
const (
	libxcPageXAlloc = 0xd // allocated, content not sent
	libxcPageBroken = 0xe
	libxcPageXTab   = 0xf // not populated
)

// xlSave reads the streams front to back without touching page content.
type xlSave struct {
	m    *MemoryImage
	r    io.ReaderAt
	size int64
	off  int64
	last uint64 // one past the highest pfn with content
	sent uint64 // pages with content, counted as often as they were sent
}

func openXLSave(m *MemoryImage, r io.ReaderAt, size int64) error {
	m.Format = FormatXLSave
	x := &xlSave{m: m, r: r, size: size}
	if err := x.header(); err != nil {
		return err
	}
	if err := x.libxl(); err != nil {
		if len(m.pages.runs) == 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		m.warn("the file is truncated: %v", err)
	}
	if m.Guest == GuestPV {
		// Page tables of a PV guest are saved with pfns in place of mfns
		// (normalise_page, tools/libs/guest/xg_sr_save_x86_pv.c), and CR3 too, so
		// the table that translates them is the identity.
		last, sent := x.last, x.sent
		m.attachments["xen/p2m"] = func() ([]byte, error) { return identityP2M(last, sent) }
	}
	return nil
}

func identityP2M(last, sent uint64) ([]byte, error) {
	if err := checkP2M(last, sent); err != nil {
		return nil, err
	}
	b := make([]byte, last*8)
	for i := range last {
		binary.LittleEndian.PutUint64(b[i*8:], i)
	}
	return b, nil
}

// next reads n bytes and moves past them.
func (x *xlSave) next(n int) ([]byte, error) {
	b := make([]byte, n)
	if int64(n) > x.size-x.off {
		return nil, fmt.Errorf("read %d bytes at %#x: %w", n, x.off, io.ErrUnexpectedEOF)
	}
	if err := readFullAt(x.r, b, x.off); err != nil {
		return nil, err
	}
	x.off += int64(n)
	return b, nil
}

func (x *xlSave) header() error {
	b, err := x.next(48)
	if err != nil {
		return fmt.Errorf("xl header: %w", err)
	}
	le := binary.LittleEndian
	order, flags, length := le.Uint32(b[32:]), le.Uint32(b[36:]), le.Uint32(b[44:])
	if order != xlByteOrder {
		return fmt.Errorf("xl header: byte order mark %#x", order)
	}
	if flags&xlFlagStreamV2 == 0 {
		return fmt.Errorf("xl header: mandatory flags %#x: streams before Xen 4.6 are not read", flags)
	}
	if length > maxXLConfig || int64(length) > x.size-x.off {
		return fmt.Errorf("xl header: %d bytes of optional data", length)
	}
	if length >= 4 {
		n, err := x.next(4)
		if err != nil {
			return fmt.Errorf("xl config: %w", err)
		}
		size := min(le.Uint32(n), length-4)
		x.m.attach("xl/config", x.off, int64(size))
		x.off -= 4
	}
	x.off += int64(length)
	return nil
}

// libxl walks the outer stream.
func (x *xlSave) libxl() error {
	b, err := x.next(16)
	if err != nil {
		return fmt.Errorf("libxl header: %w", err)
	}
	be := binary.BigEndian
	if string(b[:8]) != libxlIdent || be.Uint32(b[8:]) != 2 {
		return fmt.Errorf("libxl header: ident %q, version %d", b[:8], be.Uint32(b[8:]))
	}
	if be.Uint32(b[12:])&1 != 0 {
		return errors.New("libxl header: big-endian streams are not read")
	}
	for {
		h, err := x.next(8)
		if err != nil {
			return fmt.Errorf("libxl record: %w", err)
		}
		kind, length := binary.LittleEndian.Uint32(h), int64(binary.LittleEndian.Uint32(h[4:]))
		switch kind {
		case libxlEnd:
			return nil
		case libxlLibxcContext:
			if err := x.libxc(); err != nil {
				return err
			}
		case libxlXenstoreData:
			x.m.attach("xl/emulator-xenstore", x.off, length)
		case libxlEmulatorContext:
			x.m.attach("xl/emulator-context", x.off, length)
		case libxlCheckpointEnd:
		default:
			x.m.warn("libxl record type %#x at %#x is unknown, passed over", kind, x.off-8)
		}
		if err := x.skip(length); err != nil {
			return fmt.Errorf("libxl record type %#x: %w", kind, err)
		}
	}
}

// skip moves past a record body and its padding to 8 bytes.
func (x *xlSave) skip(length int64) error {
	length = (length + 7) &^ 7
	if length > x.size-x.off {
		return fmt.Errorf("%d bytes at %#x: %w", length, x.off, io.ErrUnexpectedEOF)
	}
	x.off += length
	return nil
}

// libxc walks the inner stream, which holds the guest.
func (x *xlSave) libxc() error {
	b, err := x.next(40)
	if err != nil {
		return fmt.Errorf("libxc header: %w", err)
	}
	be, le := binary.BigEndian, binary.LittleEndian
	marker, ident, version, options := be.Uint64(b), be.Uint32(b[8:]), be.Uint32(b[12:]), be.Uint16(b[16:])
	if marker != ^uint64(0) || ident != libxcIdent || version < 2 || version > 3 {
		return fmt.Errorf("libxc header: marker %#x, id %#x, version %d", marker, ident, version)
	}
	if options&1 != 0 {
		return errors.New("libxc header: big-endian streams are not read")
	}
	kind, shift := le.Uint32(b[24:]), le.Uint16(b[28:])
	if shift != 12 {
		return fmt.Errorf("libxc domain header: page shift %d, want 12", shift)
	}
	switch kind {
	case libxcGuestPV:
		x.m.Guest = GuestPV
	case libxcGuestHVM:
		x.m.Guest = GuestHVM
	default:
		return fmt.Errorf("libxc domain header: guest type %d", kind)
	}
	x.m.Xen = fmt.Sprintf("%d.%d", le.Uint32(b[32:]), le.Uint32(b[36:]))
	for {
		h, err := x.next(8)
		if err != nil {
			return fmt.Errorf("libxc record: %w", err)
		}
		kind, length := le.Uint32(h), int64(le.Uint32(h[4:]))
		if kind == libxcEnd {
			return nil
		}
		if err := x.libxcRecord(kind, length); err != nil {
			return fmt.Errorf("libxc record type %#x at %#x: %w", kind, x.off-8, err)
		}
	}
}

// libxcRecord takes what is of use from one record and moves past it.
func (x *xlSave) libxcRecord(kind uint32, length int64) error {
	if length > maxStreamRecord {
		return fmt.Errorf("%d bytes long", length)
	}
	body := x.off
	switch kind {
	case libxcPageData:
		if err := x.pageData(body, length); err != nil {
			return err
		}
	case libxcVCPUBasic:
		if length < 8 {
			return fmt.Errorf("%d bytes long", length)
		}
		id, err := x.next(4)
		if err != nil {
			return err
		}
		x.off = body
		if n := binary.LittleEndian.Uint32(id); n < maxVCPUs {
			x.m.attach(fmt.Sprintf("xen/vcpu/%d", n), body+8, length-8)
		}
	case libxcP2MFrames:
		x.m.attach("xl/p2m-frames", body, length)
	case libxcSharedInfo:
		x.m.attach("xen/shared-info", body, length)
	case libxcTSCInfo:
		x.m.attach("xen/tsc-info", body, length)
	case libxcHVMContext:
		x.m.attach("xen/hvm-context", body, length)
	case libxcHVMParams:
		x.m.attach("xen/hvm-params", body, length)
	}
	return x.skip(length)
}

// pageData reads the list of one PAGE_DATA record. Pages of a live save come
// several times; the page map lets the last one win.
func (x *xlSave) pageData(body, length int64) error {
	if length < 8 {
		return fmt.Errorf("PAGE_DATA of %d bytes", length)
	}
	h, err := x.next(8)
	if err != nil {
		return err
	}
	x.off = body
	count := int64(binary.LittleEndian.Uint32(h))
	if count > (length-8)/8 {
		return fmt.Errorf("PAGE_DATA with %d pages in %d bytes", count, length)
	}
	list := make([]byte, min(count, 4096)*8)
	content := body + 8 + count*8
	for i := int64(0); i < count; i += 4096 {
		b := list[:min(4096, count-i)*8]
		if err := readFullAt(x.r, b, body+8+i*8); err != nil {
			return fmt.Errorf("PAGE_DATA: %w", err)
		}
		for ; len(b) > 0; b = b[8:] {
			used, err := x.page(binary.LittleEndian.Uint64(b), content)
			if err != nil {
				return err
			}
			content += used
		}
	}
	if content != body+length {
		return fmt.Errorf("PAGE_DATA of %d bytes holds %d", length, content-body)
	}
	return nil
}

// page maps one entry of PAGE_DATA and returns how many bytes of content it has.
func (x *xlSave) page(entry uint64, content int64) (int64, error) {
	pfn, kind := entry&(1<<52-1), entry>>60
	if pfn >= maxPage {
		return 0, fmt.Errorf("pfn %#x is beyond any machine's memory", pfn)
	}
	switch kind {
	case libxcPageXTab:
		return 0, x.m.pages.add(run{pfn, 1, 0, format.PageBallooned})
	case libxcPageXAlloc, libxcPageBroken:
		return 0, x.m.pages.add(run{pfn, 1, 0, format.PageUnreadable})
	}
	x.last = max(x.last, pfn+1)
	x.sent++
	return format.PageSize, x.m.pages.add(run{pfn, 1, content, format.PageData})
}
