package ntfs

import (
	"fmt"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// usnPage is the unit of the change journal: no record crosses its end, and what
// is left of one is zeros (USN_PAGE_SIZE).
const usnPage = 4096

// Reasons of a record of the change journal, MS-FSCC 2.3.62.1.
const (
	usnOverwrite  = 0x00000001
	usnExtend     = 0x00000002
	usnTruncate   = 0x00000004
	usnNamedWrite = 0x00000070 // the same three for a stream
	usnCreate     = 0x00000100
	usnDelete     = 0x00000200
	usnRenameOld  = 0x00001000
	usnRenameNew  = 0x00002000
	usnBasicInfo  = 0x00008000
	usnHardLink   = 0x00010000
	usnClose      = 0x80000000
)

var usnReasons = [...]string{
	0: "DATA_OVERWRITE", 1: "DATA_EXTEND", 2: "DATA_TRUNCATION",
	4: "NAMED_DATA_OVERWRITE", 5: "NAMED_DATA_EXTEND", 6: "NAMED_DATA_TRUNCATION",
	8: "FILE_CREATE", 9: "FILE_DELETE", 10: "EA_CHANGE", 11: "SECURITY_CHANGE",
	12: "RENAME_OLD_NAME", 13: "RENAME_NEW_NAME", 14: "INDEXABLE_CHANGE", 15: "BASIC_INFO_CHANGE",
	16: "HARD_LINK_CHANGE", 17: "COMPRESSION_CHANGE", 18: "ENCRYPTION_CHANGE", 19: "OBJECT_ID_CHANGE",
	20: "REPARSE_POINT_CHANGE", 21: "STREAM_CHANGE", 22: "TRANSACTED_CHANGE", 23: "INTEGRITY_CHANGE",
	24: "DESIRED_STORAGE_CLASS_CHANGE", 31: "CLOSE",
}

// reasonNames gives the bits of a reason their names.
func reasonNames(r uint32) string {
	var out []string
	for k := range 32 {
		if r>>k&1 == 0 {
			continue
		}
		name := fmt.Sprintf("%#x", uint32(1)<<k)
		if k < len(usnReasons) && usnReasons[k] != "" {
			name = usnReasons[k]
		}
		out = append(out, name)
	}
	return strings.Join(out, "|")
}

// usnRecord is one record of the change journal: USN_RECORD_V2, or V3, which has
// wider references, or V4, which has ranges and neither name nor time.
type usnRecord struct {
	length       int
	file, parent reference
	usn          uint64 // its place in the journal, in bytes
	time         int64  // ns since 1970; fs.NoTime in version 4
	reason       uint32
	attributes   uint32
	name         string
	ranges       []fs.Range // of the file; version 4 only
}

// parseUSN decodes the record at the start of b, which is the rest of a page.
func parseUSN(b []byte) (usnRecord, error) {
	bad := func(field string, v any) (usnRecord, error) {
		return usnRecord{}, fmt.Errorf("change journal: %s %v: %w", field, v, fs.ErrCorrupt)
	}
	if len(b) < 8 {
		return bad("rest of a page of", len(b))
	}
	n, major := int(le.Uint32(b)), le.Uint16(b[4:])
	if n < 8 || n > len(b) || n&7 != 0 {
		return bad("record length", n)
	}
	b = b[:n]
	// References are 8 bytes in version 2, 16 in the others, of which NTFS uses 8.
	wide, head := 0, 60
	switch major {
	case 2:
	case 3:
		wide, head = 8, 76
	case 4:
		wide, head = 8, 64
	default:
		return bad("record version", major)
	}
	if n < head {
		return bad("record length", n)
	}
	r := usnRecord{length: n, file: reference(le.Uint64(b[8:])), parent: reference(le.Uint64(b[16+wide:])), time: fs.NoTime}
	at := 24 + 2*wide
	r.usn = le.Uint64(b[at:])
	if major == 4 {
		r.reason = le.Uint32(b[at+8:])
		return r, r.extents(b)
	}
	r.time = filetime(le.Uint64(b[at+8:]))
	r.reason, r.attributes = le.Uint32(b[at+16:]), le.Uint32(b[at+28:])
	size, off := int(le.Uint16(b[at+32:])), int(le.Uint16(b[at+34:]))
	if off < head || size&1 != 0 || off+size > n {
		return bad("name of", fmt.Sprintf("%d bytes at %d", size, off))
	}
	r.name = fs.UTF16LE(b[off : off+size])
	return r, nil
}

// extents reads the ranges of a version 4 record.
func (r *usnRecord) extents(b []byte) error {
	count, size := int(le.Uint16(b[60:])), int(le.Uint16(b[62:]))
	if count > 0 && size < 16 || 64+count*size > len(b) {
		return fmt.Errorf("change journal: %d extents of %d bytes: %w", count, size, fs.ErrCorrupt)
	}
	for k := range count {
		e := b[64+k*size:]
		off, n := le.Uint64(e), le.Uint64(e[8:])
		if off>>63 != 0 || n>>63 != 0 {
			return fmt.Errorf("change journal: extent %d+%d: %w", off, n, fs.ErrCorrupt)
		}
		r.ranges = append(r.ranges, fs.Range{Off: off, Len: n})
	}
	return nil
}
