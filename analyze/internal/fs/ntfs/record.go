package ntfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Attribute types.
const (
	attrStandard   = 0x10
	attrList       = 0x20
	attrName       = 0x30
	attrVolumeName = 0x60
	attrData       = 0x80
	attrIndexRoot  = 0x90
	attrIndexAlloc = 0xa0
	attrBitmap     = 0xb0
	attrReparse    = 0xc0
	attrEA         = 0xe0
	attrEnd        = 0xffffffff
)

// Flags of a file record and of an attribute.
const (
	recordInUse = 1
	recordDir   = 2

	flagCompressed = 0x00ff // a method; only LZNT1 (1) exists
	flagEncrypted  = 0x4000
	flagSparse     = 0x8000
)

// reference names a file record: 48 bits of number, 16 of sequence.
type reference uint64

func (r reference) record() uint64 { return uint64(r) & (1<<48 - 1) }
func (r reference) seq() uint16    { return uint16(r >> 48) }

// record is one file record with its fixups undone.
type record struct {
	b     []byte
	num   uint64
	seq   uint16
	links uint16
	flags uint16
	base  reference // 0 unless this is an extension of another record
	attrs []attribute
}

func (r *record) inUse() bool { return r.flags&recordInUse != 0 }

// attribute is one attribute header with what belongs to it.
type attribute struct {
	typ      uint32
	name     string // UTF-8
	flags    uint16
	instance uint16
	resident bool
	value    []byte // resident
	// Not resident:
	lowVCN, highVCN                    uint64
	runs                               []byte // mapping pairs
	unit                               uint8  // log2 of clusters in a compression unit, 0 = not compressed
	allocated, dataSize, initializedSz uint64
}

// fixup checks and undoes the update sequence of a multi-sector structure: the
// last two bytes of each sector were swapped for a counter when it was written.
func fixup(b []byte) error {
	at, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if n != len(b)/sectorSize+1 || at+2*n > sectorSize-2 || at < 8 {
		return fmt.Errorf("update sequence of %d at %d: %w", n, at, fs.ErrCorrupt)
	}
	usn := le.Uint16(b[at:])
	for k := 1; k < n; k++ {
		end := b[k*sectorSize-2:]
		if le.Uint16(end) != usn {
			return fmt.Errorf("sector %d is of another write than the first: %w", k-1, fs.ErrCorrupt)
		}
		copy(end[:2], b[at+2*k:at+2*k+2])
	}
	return nil
}

// parseRecord decodes file record num. It owns b, which it changes. A place that
// never held a record gives a record not in use.
func parseRecord(num uint64, b []byte) (*record, error) {
	bad := func(what string, v any) (*record, error) {
		return nil, fmt.Errorf("file record %d: %s %v: %w", num, what, v, fs.ErrCorrupt)
	}
	if zero(b) {
		return &record{b: b, num: num}, nil
	}
	if string(b[:4]) != "FILE" {
		return bad("magic", fmt.Sprintf("%q", b[:4]))
	}
	if err := fixup(b); err != nil {
		return nil, fmt.Errorf("file record %d: %w", num, err)
	}
	r := &record{
		b: b, num: num, seq: le.Uint16(b[16:]), links: le.Uint16(b[18:]), flags: le.Uint16(b[22:]),
		base: reference(le.Uint64(b[32:])),
	}
	used := le.Uint32(b[24:])
	if used > uint32(len(b)) {
		return bad("bytes in use", used)
	}
	at := int(le.Uint16(b[20:]))
	for {
		if at+8 > int(used) || at&7 != 0 || at < 42 {
			return bad("attribute offset", at)
		}
		if le.Uint32(b[at:]) == attrEnd {
			return r, nil
		}
		n := int(le.Uint32(b[at+4:]))
		if n < 24 || n&7 != 0 || n > int(used)-at {
			return bad("attribute length", n)
		}
		a, err := parseAttribute(b[at : at+n])
		if err != nil {
			return nil, fmt.Errorf("file record %d: attribute %#x at %d: %w", num, le.Uint32(b[at:]), at, err)
		}
		r.attrs = append(r.attrs, a)
		at += n
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func parseAttribute(b []byte) (attribute, error) {
	a := attribute{typ: le.Uint32(b), flags: le.Uint16(b[12:]), instance: le.Uint16(b[14:]), resident: b[8] == 0}
	bad := func(what string, v any) (attribute, error) {
		return a, fmt.Errorf("%s %v: %w", what, v, fs.ErrCorrupt)
	}
	if n, at := int(b[9]), int(le.Uint16(b[10:])); n > 0 {
		if at+2*n > len(b) {
			return bad("name at", at)
		}
		a.name = fs.UTF16LE(b[at : at+2*n])
	}
	if a.resident {
		n, at := uint64(le.Uint32(b[16:])), uint64(le.Uint16(b[20:]))
		if at+n > uint64(len(b)) {
			return bad("value of length", n)
		}
		a.value = b[at : at+n]
		a.dataSize = n
		return a, nil
	}
	if len(b) < 64 {
		return bad("header of length", len(b))
	}
	a.lowVCN, a.highVCN = le.Uint64(b[16:]), le.Uint64(b[24:])
	at := int(le.Uint16(b[32:]))
	if at < 64 || at > len(b) {
		return bad("mapping pairs at", at)
	}
	a.runs, a.unit = b[at:], b[34]
	a.allocated, a.dataSize, a.initializedSz = le.Uint64(b[40:]), le.Uint64(b[48:]), le.Uint64(b[56:])
	if a.lowVCN == 0 && (a.dataSize>>62 != 0 || a.initializedSz > a.dataSize) {
		return bad("size", a.dataSize)
	}
	if a.unit > 8 {
		return bad("compression unit", a.unit)
	}
	return a, nil
}
