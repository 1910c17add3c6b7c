package foreign

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"math/rand"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/format"
)

// The writers here follow the formats' specifications and share nothing with
// the readers under test.

var le, be = binary.LittleEndian, binary.BigEndian

// guestPages is a small machine: low memory, a hole, memory above 4 GiB.
func guestPages() map[uint64][]byte {
	rng := rand.New(rand.NewSource(1))
	pages := map[uint64][]byte{}
	for _, pfn := range []uint64{0, 1, 2, 3, 9, 10, 11, 200, 0x100000, 0x100001} {
		p := make([]byte, format.PageSize)
		rng.Read(p[:512])
		pages[pfn] = p
	}
	return pages
}

func sortedPFNs(pages map[uint64][]byte) []uint64 {
	var out []uint64
	for n := range pages {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

type buffer struct{ bytes.Buffer }

func (b *buffer) put(vs ...any) {
	for _, v := range vs {
		switch v := v.(type) {
		case []byte:
			b.Write(v)
		case string:
			b.WriteString(v)
		default:
			if err := binary.Write(&b.Buffer, le, v); err != nil {
				panic(err)
			}
		}
	}
}

func (b *buffer) align(n int) {
	for b.Len()%n != 0 {
		b.WriteByte(0)
	}
}

func elfIdent() []byte {
	return append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
}

func note(owner string, kind uint32, desc []byte) []byte {
	var b buffer
	b.put(uint32(len(owner)+1), uint32(len(desc)), kind, owner, byte(0))
	b.align(4)
	b.put(desc)
	b.align(4)
	return b.Bytes()
}

// segmentSpec is one PT_LOAD: data is file content, memSize may be larger.
type segmentSpec struct {
	addr    uint64
	data    []byte
	memSize uint64
}

func buildVmcore(notes []byte, segs []segmentSpec) []byte {
	var b buffer
	b.put(elfIdent(), uint16(4), uint16(62), uint32(1), uint64(0), uint64(64), uint64(0), uint32(0),
		uint16(64), uint16(56), uint16(1+len(segs)), uint16(64), uint16(0), uint16(0))
	off := uint64(64 + 56*(1+len(segs)))
	b.put(uint32(4), uint32(0), off, uint64(0), uint64(0), uint64(len(notes)), uint64(len(notes)), uint64(0))
	off += uint64(len(notes))
	for _, s := range segs {
		mem := max(s.memSize, uint64(len(s.data)))
		b.put(uint32(1), uint32(0), off, uint64(0), s.addr, uint64(len(s.data)), mem, uint64(0))
		off += uint64(len(s.data))
	}
	b.put(notes)
	for _, s := range segs {
		b.put(s.data)
	}
	return b.Bytes()
}

func vmcoreOf(pages map[uint64][]byte) []byte {
	var segs []segmentSpec
	for _, n := range sortedPFNs(pages) {
		k := len(segs)
		if k > 0 && segs[k-1].addr+uint64(len(segs[k-1].data)) == n*format.PageSize {
			segs[k-1].data = append(segs[k-1].data, pages[n]...)
			continue
		}
		segs = append(segs, segmentSpec{addr: n * format.PageSize, data: bytes.Clone(pages[n])})
	}
	notes := slices.Concat(note("CORE", 1, []byte("status 0")), note("CORE", 1, []byte("status 1")),
		note("QEMU", 0, []byte("cpu 0")), note("VMCOREINFO", 0, []byte("OSRELEASE=6.1\n")))
	return buildVmcore(notes, segs)
}

type sectionSpec struct {
	name      string
	data      []byte
	entrySize uint64
}

func buildSections(secs []sectionSpec) []byte {
	names := []byte{0}
	var nameAt []uint32
	for _, s := range append(secs, sectionSpec{name: ".shstrtab"}) {
		nameAt = append(nameAt, uint32(len(names)))
		names = append(append(names, s.name...), 0)
	}
	var body, heads buffer
	base := uint64(4096)
	heads.put(make([]byte, 64))
	for i, s := range append(secs, sectionSpec{name: ".shstrtab", data: names}) {
		body.align(4096)
		heads.put(nameAt[i], uint32(1), uint64(0), uint64(0), base+uint64(body.Len()), uint64(len(s.data)),
			uint32(0), uint32(0), uint64(8), s.entrySize)
		body.put(s.data)
	}
	var b buffer
	b.put(elfIdent(), uint16(4), uint16(62), uint32(1), uint64(0), uint64(0), uint64(64), uint32(0),
		uint16(64), uint16(0), uint16(0), uint16(64), uint16(len(secs)+2), uint16(len(secs)+1))
	b.put(heads.Bytes())
	b.align(4096)
	b.put(body.Bytes())
	return b.Bytes()
}

// mfnOf is the machine frame of a test guest's pfn.
func mfnOf(pfn uint64) uint64 { return pfn ^ 0x5000 }

func xenCoreOf(pages map[uint64][]byte, pv bool) []byte {
	var content, table, header buffer
	magic := uint64(xenMagicHVM)
	if pv {
		magic = xenMagicPV
	}
	for _, n := range sortedPFNs(pages) {
		content.put(pages[n])
		table.put(n)
		if pv {
			table.put(mfnOf(n))
		}
	}
	content.put(make([]byte, format.PageSize)) // the padding xl dump-core leaves for a page it could not map
	table.put(^uint64(0))
	if pv {
		table.put(^uint64(0))
	}
	header.put(magic, uint64(2), uint64(len(pages)), uint64(4096))
	name, width := ".xen_pfn", uint64(8)
	if pv {
		name, width = ".xen_p2m", 16
	}
	vcpus := bytes.Repeat([]byte{1}, vcpuSizeX64)
	vcpus = append(vcpus, bytes.Repeat([]byte{2}, vcpuSizeX64)...)
	return buildSections([]sectionSpec{
		{".note.Xen", note("Xen", xenNoteHeader, header.Bytes()), 0},
		{".xen_prstatus", vcpus, vcpuSizeX64},
		{".xen_shared_info", bytes.Repeat([]byte{7}, 4096), 4096},
		{".xen_pages", content.Bytes(), 4096},
		{name, table.Bytes(), width},
	})
}

func streamRecord(kind uint32, body []byte) []byte {
	var b buffer
	b.put(kind, uint32(len(body)), body)
	b.align(8)
	return b.Bytes()
}

func pageDataRecord(pfns []uint64, pages map[uint64][]byte) []byte {
	var b buffer
	b.put(uint32(len(pfns)), uint32(0))
	for _, n := range pfns {
		b.put(n)
	}
	for _, n := range pfns {
		if t := n >> 60; t < 0xd {
			b.put(pages[n&(1<<52-1)])
		}
	}
	return streamRecord(1, b.Bytes())
}

// xlSaveOf writes a live save: stale copies of some pages first, then all.
func xlSaveOf(pages map[uint64][]byte, pv bool) []byte {
	var b buffer
	config := `{"c_info":{"name":"guest"}}`
	b.put(xlSaveMagic, uint32(0x01020304), uint32(3), uint32(0), uint32(4+len(config)), uint32(len(config)), config)
	b.put("LibxlFmt", be.AppendUint32(nil, 2), be.AppendUint32(nil, 0))
	b.put(streamRecord(1, nil))
	kind := uint32(2)
	if pv {
		kind = 1
	}
	b.put(^uint64(0), be.AppendUint32(nil, 0x58454e46), be.AppendUint32(nil, 3), make([]byte, 8))
	b.put(kind, uint16(12), uint16(0), uint32(4), uint32(17))
	stale := map[uint64][]byte{}
	pfns := sortedPFNs(pages)
	for _, n := range pfns {
		stale[n] = bytes.Repeat([]byte{0xee}, format.PageSize)
	}
	b.put(pageDataRecord(append(slices.Clone(pfns[1:4]), 0xf<<60|0x50), stale))
	b.put(pageDataRecord(append(slices.Clone(pfns), 0xd<<60|0x51), pages))
	if pv {
		b.put(streamRecord(4, append(make([]byte, 8), bytes.Repeat([]byte{9}, vcpuSizeX64)...)))
		b.put(streamRecord(7, bytes.Repeat([]byte{7}, 4096)))
	} else {
		b.put(streamRecord(9, []byte("hvm context")))
	}
	b.put(streamRecord(0, nil), streamRecord(2, []byte("\x00\x00\x00\x00")), streamRecord(0, nil))
	return b.Bytes()
}

func limeOf(pages map[uint64][]byte) []byte {
	var b buffer
	for _, n := range sortedPFNs(pages) {
		b.put("EMiL", uint32(1), n*format.PageSize, n*format.PageSize+format.PageSize-1, uint64(0), pages[n])
	}
	return b.Bytes()
}

// kdumpOf compresses each page by the method its number selects. Frames in
// leftOut exist and were not dumped.
func kdumpOf(pages map[uint64][]byte, leftOut uint64) []byte {
	pfns := sortedPFNs(pages)
	maxPFN := pfns[len(pfns)-1] + 1
	bitmap := (maxPFN + 32767) / 32768 * 4096
	exists, dumped := make([]byte, bitmap), make([]byte, bitmap)
	exists[leftOut/8] |= 1 << (leftOut % 8)
	descAt := 2*4096 + 2*bitmap
	dataAt := descAt + uint64(len(pfns))*24
	var desc, data buffer
	for i, n := range pfns {
		exists[n/8] |= 1 << (n % 8)
		dumped[n/8] |= 1 << (n % 8)
		c, flags := compressPage(i, pages[n])
		desc.put(dataAt+uint64(data.Len()), uint32(len(c)), flags, uint64(0))
		data.put(c)
	}
	info := []byte("OSRELEASE=6.1\n")
	var b buffer
	head := make([]byte, 4096)
	copy(head, kdumpSignature)
	le.PutUint32(head[8:], 6)
	le.PutUint32(head[428:], 4096)
	le.PutUint32(head[432:], 1)
	le.PutUint32(head[436:], uint32(2*bitmap/4096))
	le.PutUint32(head[440:], uint32(maxPFN))
	sub := make([]byte, 4096)
	le.PutUint64(sub[32:], dataAt+uint64(data.Len()))
	le.PutUint64(sub[40:], uint64(len(info)))
	le.PutUint64(sub[96:], maxPFN)
	b.put(head, sub, exists, dumped, desc.Bytes(), data.Bytes(), info)
	return b.Bytes()
}

func compressPage(method int, p []byte) ([]byte, uint32) {
	switch method % 4 {
	case 1:
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		w.Write(p)
		w.Close()
		return z.Bytes(), 1
	case 2:
		return s2.EncodeSnappy(nil, p), 4
	case 3:
		w, err := zstd.NewWriter(nil)
		if err != nil {
			panic(err)
		}
		return w.EncodeAll(p, nil), 0x20
	}
	return p, 0
}

// flattenedOf writes a file in pieces, the first of them last and stale before, as
// makedumpfile and QEMU do with the header.
func flattenedOf(file []byte) []byte {
	var b buffer
	b.put("makedumpfile\x00\x00\x00\x00", be.AppendUint64(nil, 1), be.AppendUint64(nil, 1))
	b.align(4096)
	piece := func(at int, data []byte) {
		b.put(be.AppendUint64(nil, uint64(at)), be.AppendUint64(nil, uint64(len(data))), data)
	}
	piece(0, make([]byte, 4096))
	for at := 4096; at < len(file); at += 5000 {
		piece(at, file[at:min(at+5000, len(file))])
	}
	piece(0, file[:4096])
	b.put(bytes.Repeat([]byte{0xff}, 16))
	return b.Bytes()
}
