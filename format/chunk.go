package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// Magic opens every tape (SPEC.md §3): a byte no text has, the name, the major
// version, and the line ends and end-of-file characters that careless transfers
// change, as PNG does.
const Magic = "\x89XTP\x01\r\n\x1a"

// Sizes and limits of the container (SPEC.md §3). Lengths are checked against
// them before anything is allocated.
const (
	chunkHeaderSize = 48
	chunkAlign      = 8

	// MaxChunk bounds a chunk's content before compression, in bytes.
	MaxChunk = 16 << 20
	// MaxRecord bounds one encoded record, in bytes: MaxDiskData and room for the rest.
	MaxRecord = 8 << 20
	// MaxAttrs and MaxExtents bound the attributes and extents of one record.
	MaxAttrs   = 4096
	MaxExtents = 1 << 16
	// MaxAttachment bounds Attachment.Data, in bytes.
	MaxAttachment = 256 << 20

	maxMeta   = 1<<15 - 1
	maxNumber = 1 << 62          // of chunks: one more is always a number
	maxStored = MaxChunk + 1<<10 // a sealed chunk stored uncompressed, and its tag
)

const chunkSync = 0xbc939ff0 // F0 9F 93 BC, little-endian

// chunkType says what a chunk holds. A reader that does not know a type with
// the critical bit must refuse the tape; others it skips and counts.
type chunkType uint8

const chunkCritical chunkType = 0x80

const (
	chunkHeader     chunkType = 0x81 // FileHeader; written twice at the start, repeated in each index
	chunkKey        chunkType = 0x82 // an epoch's key, wrapped to the recipients; written twice
	chunkRecords    chunkType = 0x83 // a batch of records of one lane
	chunkPages      chunkType = 0x84 // page contents of a snapshot and what they are contents of
	chunkMap        chunkType = 0x85 // the settled page map of an ended snapshot
	chunkIndex      chunkType = 0x06 // where the chunks since the previous index are
	chunkCheckpoint chunkType = 0x07 // a signed tree head
	chunkRepeat     chunkType = 0x08 // copies of the records a reader needs to begin
	chunkLoss       chunkType = 0x09 // chunks that salvage could not save
	chunkFooter     chunkType = 0x8f // the end of a complete tape
)

func (t chunkType) String() string {
	switch t {
	case chunkHeader:
		return "header"
	case chunkKey:
		return "key"
	case chunkRecords:
		return "records"
	case chunkPages:
		return "pages"
	case chunkMap:
		return "map"
	case chunkIndex:
		return "index"
	case chunkCheckpoint:
		return "checkpoint"
	case chunkRepeat:
		return "repeat"
	case chunkLoss:
		return "loss"
	case chunkFooter:
		return "footer"
	}
	return fmt.Sprintf("type %#02x", uint8(t))
}

func (t chunkType) known() bool { return t.String()[0] != 't' }

// chunkHead is a chunk's fixed header and its meta (SPEC.md §3.1). The meta is
// never encrypted: it is what verify, and a reader that seeks, go by.
type chunkHead struct {
	Type   chunkType
	Flags  uint8
	Tape   [16]byte
	Number uint64 // from 1, +1 per chunk
	Stored uint32 // bytes of the body as stored
	Size   uint32 // bytes of the body uncompressed
	CRC    uint32 // CRC-32C of the stored body and padding
	Meta   []byte
}

// Flags of a chunk.
const flagSealed uint8 = 1 // the body is encrypted; the meta names the epoch

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errNoSync  = errors.New("no sync marker")
	errBadHead = errors.New("header checksum does not match")
)

// append encodes the header and meta; the header checksum covers both.
func (h *chunkHead) append(dst []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, chunkSync)
	dst = append(dst, byte(h.Type), h.Flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(h.Meta)))
	dst = append(dst, h.Tape[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.Number)
	dst = binary.LittleEndian.AppendUint32(dst, h.Stored)
	dst = binary.LittleEndian.AppendUint32(dst, h.Size)
	dst = binary.LittleEndian.AppendUint32(dst, h.CRC)
	crc := crc32.Update(0, castagnoli, dst[start:])
	crc = crc32.Update(crc, castagnoli, h.Meta)
	dst = binary.LittleEndian.AppendUint32(dst, crc)
	return append(dst, h.Meta...)
}

// parseChunkHead decodes the fixed header; meta is the bytes after it, of which
// the header says how many belong to it. errShort means that more are needed.
func parseChunkHead(b []byte) (chunkHead, error) {
	var h chunkHead
	if len(b) < chunkHeaderSize {
		return h, errShort
	}
	if binary.LittleEndian.Uint32(b) != chunkSync {
		return h, errNoSync
	}
	h.Type, h.Flags = chunkType(b[4]), b[5]
	n := int(binary.LittleEndian.Uint16(b[6:]))
	copy(h.Tape[:], b[8:])
	h.Number = binary.LittleEndian.Uint64(b[24:])
	h.Stored = binary.LittleEndian.Uint32(b[32:])
	h.Size = binary.LittleEndian.Uint32(b[36:])
	h.CRC = binary.LittleEndian.Uint32(b[40:])
	if n > maxMeta {
		return h, errBadHead
	}
	if len(b) < chunkHeaderSize+n {
		return h, errShort
	}
	h.Meta = append([]byte(nil), b[chunkHeaderSize:chunkHeaderSize+n]...)
	crc := crc32.Update(0, castagnoli, b[:44])
	crc = crc32.Update(crc, castagnoli, h.Meta)
	if crc != binary.LittleEndian.Uint32(b[44:]) {
		return h, errBadHead
	}
	if h.Stored > maxStored || h.Size > MaxChunk {
		return h, fmt.Errorf("body of %d bytes, %d uncompressed: more than the format allows", h.Stored, h.Size)
	}
	if h.Number == 0 || h.Number > maxNumber {
		return h, fmt.Errorf("chunk number %d: out of range", h.Number)
	}
	return h, nil
}

// length is the whole chunk in the file: header, meta, body, padding.
func (h *chunkHead) length() int64 {
	n := int64(chunkHeaderSize+len(h.Meta)) + int64(h.Stored)
	return (n + chunkAlign - 1) &^ (chunkAlign - 1)
}

// metaLengthHint reads the meta length from an unchecked header.
func metaLengthHint(b []byte) int { return int(binary.LittleEndian.Uint16(b[6:])) }

// sealedAAD is what authenticated encryption binds a body to: everything in the
// header that is known before the body is encrypted, and the meta.
func (h *chunkHead) sealedAAD() []byte {
	b := h.append(nil)
	return append(b[:32:32], b[chunkHeaderSize:]...)
}

// finishChunk lays out a whole chunk from its head and stored body, in dst where
// that has room.
func finishChunk(h *chunkHead, stored, dst []byte) []byte {
	h.Stored = uint32(len(stored))
	total := h.length()
	pad := int(total) - chunkHeaderSize - len(h.Meta) - len(stored)
	var zero [chunkAlign]byte
	h.CRC = crc32.Update(crc32.Update(0, castagnoli, stored), castagnoli, zero[:pad])
	out := h.append(slices.Grow(dst, int(total)))
	out = append(out, stored...)
	return append(out, zero[:pad]...)
}
