package export

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// An xl save file is xl's header (tools/xl/xl.h, struct save_file_header), libxl's
// stream (docs/specs/libxl-migration-stream.pandoc) and, within, libxc's
// (docs/specs/libxc-migration-stream.pandoc), here of version 3.
const (
	xlSaveMagic      = "Xen saved domain, xl format\n \x00 \r"
	xlSaveByteOrder  = 0x01020304
	xlSaveFlagJSON   = 1
	xlSaveFlagStream = 2

	libxlIdent        = "LibxlFmt"
	libxlVersion      = 2
	libxlEnd          = 0
	libxlLibxc        = 1
	libxlEmulatorTree = 2
	libxlEmulator     = 3

	libxcIdent   = 0x58454e46 // "XENF"
	libxcVersion = 3
	libxcPV      = 1
	libxcHVM     = 2

	libxcEnd           = 0x0
	libxcPageData      = 0x1
	libxcPVInfo        = 0x2
	libxcP2MFrames     = 0x3
	libxcVCPUBasic     = 0x4
	libxcSharedInfo    = 0x7
	libxcTSCInfo       = 0x8
	libxcHVMContext    = 0x9
	libxcHVMParams     = 0xa
	libxcStaticDataEnd = 0x10

	// Types of a page in PAGE_DATA, in bits 60 to 63 beside the pfn.
	libxcPageTable1 = 1 // an L1; to 4, an L4
	libxcPagePinned = 8 // beside a table's level
	libxcPageXAlloc = 0xd
	libxcPageXTab   = 0xf

	libxcBatch = 1024 // pages in one PAGE_DATA record, as xl has them
)

// XLSave writes memory as `xl save` does. A PV guest's page tables, vCPUs and p2m
// get pfns in place of machine frames, as libxc's normalise_page does; which frames
// are page tables is found from the vCPUs' CR3. Xen restores only guests that
// suspended by their own consent, which one that was paused for a snapshot did not:
// the file is for tools that read memory from it.
func XLSave(f File, m replay.Memory) (losses []string, err error) {
	x := &xlSaveWriter{c: &cursor{f: f}, m: m, pv: m.Info().Guest == replay.GuestPV}
	if x.pv {
		if x.tables, err = findPageTables(m); err != nil {
			return nil, fmt.Errorf("xl save of a PV guest: %w", err)
		}
	}
	for _, step := range []func() error{x.headers, x.pages, x.state, x.emulator} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return x.losses(), f.Truncate(x.c.off)
}

type xlSaveWriter struct {
	c       *cursor
	m       replay.Memory
	pv      bool
	tables  *pageTables // of a PV guest
	missing uint64      // pages that should have been there
	carried []string    // attachments that are in the file
	lost    []string
}

// attachment takes one for the file.
func (x *xlSaveWriter) attachment(name string) ([]byte, bool) {
	b, ok := x.m.Attachment(name)
	if ok {
		x.carried = append(x.carried, name)
	}
	return b, ok
}

// record writes one, padded to 8 bytes: both streams' records look alike.
func (x *xlSaveWriter) record(kind uint32, parts ...[]byte) error {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	h := binary.LittleEndian.AppendUint32(nil, kind)
	h = binary.LittleEndian.AppendUint32(h, uint32(length))
	for _, p := range append(append([][]byte{h}, parts...), make([]byte, -length&7)) {
		if _, err := x.c.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func (x *xlSaveWriter) headers() error {
	le, be := binary.LittleEndian, binary.BigEndian
	kind, name := uint32(libxcHVM), "hvm"
	switch x.m.Info().Guest {
	case replay.GuestPV:
		kind, name = libxcPV, "pv"
	case replay.GuestPVH:
		name = "pvh"
	}
	config, ok := x.attachment("xl/config")
	if !ok {
		config = fmt.Appendf(nil, `{"c_info":{"type":%q}}`, name)
	}
	b := []byte(xlSaveMagic)
	for _, v := range []uint32{xlSaveByteOrder, xlSaveFlagJSON | xlSaveFlagStream, 0, uint32(4 + len(config)), uint32(len(config))} {
		b = le.AppendUint32(b, v)
	}
	b = append(b, config...)
	b = append(b, libxlIdent...)
	b = be.AppendUint32(be.AppendUint32(b, libxlVersion), 0)
	if _, err := x.c.Write(b); err != nil {
		return err
	}
	if err := x.record(libxlLibxc); err != nil {
		return err
	}
	b = be.AppendUint64(nil, ^uint64(0))
	b = be.AppendUint32(be.AppendUint32(b, libxcIdent), libxcVersion)
	b = append(b, make([]byte, 8)...) // options: little-endian
	major, minor, ok := xenVersion(x.m)
	x.carried = append(x.carried, xenVersionNote)
	if !ok {
		major, minor = 4, 0
		x.lost = append(x.lost, "which Xen the guest ran on did not come with the snapshot: the header says 4.0")
	}
	b = le.AppendUint32(b, kind)
	b = le.AppendUint16(le.AppendUint16(b, 12), 0) // page shift
	b = le.AppendUint32(le.AppendUint32(b, major), minor)
	if _, err := x.c.Write(b); err != nil {
		return err
	}
	if x.pv {
		if err := x.record(libxcPVInfo, []byte{8, 4, 0, 0, 0, 0, 0, 0}); err != nil { // 8 bytes wide, 4 levels
			return err
		}
	}
	if err := x.record(libxcStaticDataEnd); err != nil || !x.pv {
		return err
	}
	return x.p2mFrames()
}

// p2mFrames writes where the guest keeps its p2m. What came from an xl save file is
// written again: the guest's own words on it are machine frames of a host long gone.
func (x *xlSaveWriter) p2mFrames() error {
	frames, ok := x.attachment("xl/p2m-frames")
	if !ok {
		pfns := x.tables.ownP2M()
		if len(pfns) == 0 {
			x.lost = append(x.lost, "where the guest keeps its p2m could not be followed: no record X86_PV_P2M_FRAMES")
			return nil
		}
		frames = binary.LittleEndian.AppendUint32(make([]byte, 4), uint32(x.tables.pfns-1))
		for _, pfn := range pfns {
			frames = binary.LittleEndian.AppendUint64(frames, pfn)
		}
	}
	return x.record(libxcP2MFrames, frames)
}

// pages writes every frame, in batches.
func (x *xlSaveWriter) pages() error {
	var list, content []byte
	count := uint32(0)
	flush := func() error {
		if count == 0 {
			return nil
		}
		h := append(binary.LittleEndian.AppendUint32(nil, count), 0, 0, 0, 0)
		err := x.record(libxcPageData, h, list, content)
		list, content, count = list[:0], content[:0], 0
		return err
	}
	page := make([]byte, format.PageSize)
	for _, e := range x.m.Extents() {
		for n := e.Start; n < e.Start+e.Count; n++ {
			kind := uint64(0)
			switch st, err := x.m.ReadPage(n, page); {
			case st == format.PageBallooned:
				kind = libxcPageXTab
			case err != nil || st != format.PageData && st != format.PageZero:
				kind = libxcPageXAlloc
				x.missing++
			default:
				if st == format.PageZero {
					clear(page)
				}
				if x.pv {
					kind = x.tables.normalise(n, page)
				}
				content = append(content, page...)
			}
			list = binary.LittleEndian.AppendUint64(list, n|kind<<60)
			if count++; count == libxcBatch {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// state writes what is not memory and ends libxc's stream.
func (x *xlSaveWriter) state() error {
	if tsc, ok := x.attachment("xen/tsc-info"); ok && len(tsc) >= 24 {
		if err := x.record(libxcTSCInfo, x.tscInfo(tsc)); err != nil {
			return err
		}
	}
	if x.pv {
		if shared, ok := x.attachment("xen/shared-info"); ok {
			if err := x.record(libxcSharedInfo, fit(shared, format.PageSize)); err != nil {
				return err
			}
		}
		for n, c := range x.tables.contexts {
			x.carried = append(x.carried, fmt.Sprintf("xen/vcpu/%d", n))
			if err := x.record(libxcVCPUBasic, binary.LittleEndian.AppendUint64(nil, uint64(n)), x.tables.context(c)); err != nil {
				return err
			}
		}
		return x.record(libxcEnd)
	}
	if params, ok := x.attachment("xen/hvm-params"); ok {
		if err := x.record(libxcHVMParams, x.hvmParams(params)); err != nil {
			return err
		}
	}
	if context, ok := x.attachment("xen/hvm-context"); ok {
		if err := x.record(libxcHVMContext, context); err != nil {
			return err
		}
	}
	return x.record(libxcEnd)
}

// saved reports whether the image was imported from an xl save file: attachments
// then have the form of its records (format/REGISTRY.md).
func (x *xlSaveWriter) saved() bool {
	_, ok := x.m.Attachment("xl/config")
	return ok
}

// tscInfo makes the record's body, tsc_mode, khz, nsec, incarnation, of struct
// xen_domctl_tsc_info: tsc_mode, gtsc_khz, incarnation, pad, elapsed_nsec.
func (x *xlSaveWriter) tscInfo(b []byte) []byte {
	if x.saved() {
		return b[:24]
	}
	return slices.Concat(b[:8], b[16:24], b[8:12], make([]byte, 4))
}

// hvmParams makes the record's body, a count and then index and value of each, of
// the values by index.
func (x *xlSaveWriter) hvmParams(b []byte) []byte {
	if x.saved() {
		return b
	}
	le := binary.LittleEndian
	var body []byte
	count := uint64(0)
	for n := range len(b) / 8 {
		if v := le.Uint64(b[8*n:]); v != 0 && v != ^uint64(0) {
			body = le.AppendUint64(le.AppendUint64(body, uint64(n)), v)
			count++
		}
	}
	return append(le.AppendUint64(nil, count), body...)
}

// emulator writes the device model's records, where there are, and ends libxl's
// stream.
func (x *xlSaveWriter) emulator() error {
	for _, r := range []struct {
		kind uint32
		name string
	}{{libxlEmulatorTree, "xl/emulator-xenstore"}, {libxlEmulator, "xl/emulator-context"}} {
		if b, ok := x.attachment(r.name); ok {
			if err := x.record(r.kind, b); err != nil {
				return err
			}
		}
	}
	return x.record(libxlEnd)
}

func (x *xlSaveWriter) losses() []string {
	losses := []string{"the guest was paused, not suspended by its own consent: Xen does not resume it from this file"}
	if x.missing > 0 {
		losses = append(losses, fmt.Sprintf("%d pages of memory are not on the tape or damaged: marked as allocated, without content", x.missing))
	}
	if x.pv && x.tables.foreign > 0 {
		losses = append(losses, fmt.Sprintf("%d entries of page tables name frames that are not the guest's: cleared", x.tables.foreign))
	}
	losses = append(losses, x.lost...)
	// A PV guest's own p2m is what the conversion replaces.
	var left []string
	for _, name := range x.m.Attachments() {
		if !slices.Contains(x.carried, name) && (!x.pv || name != "xen/p2m") {
			left = append(left, name)
		}
	}
	if len(left) > 0 {
		losses = append(losses, "an xl save has no place for "+strings.Join(left, ", "))
	}
	return losses
}

var errNoVCPU = errors.New("no vCPU context of 64 bits was recorded, without which its page tables are not found")
var errNoP2M = errors.New("no p2m was recorded with it")

// contexts are the vCPUs', in their order.
func contexts(m replay.Memory) (all [][]byte) {
	for n := 0; ; n++ {
		c, ok := m.Attachment(fmt.Sprintf("xen/vcpu/%d", n))
		if !ok || len(c) != vcpuContextSize {
			return all
		}
		all = append(all, bytes.Clone(c))
	}
}
