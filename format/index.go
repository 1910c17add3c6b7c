package format

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// indexEntry is one chunk as an index lists it: where it lies, its hash in the
// Merkle log, and its whole header and meta, so that a lost chunk can be named.
type indexEntry struct {
	Offset int64
	Leaf   [32]byte
	Head   chunkHead
}

// index is the body of an index chunk (SPEC.md §6.1).
type index struct {
	Previous int64      // offset of the index chunk before this one; 0 none
	Header   FileHeader // repeated
	Keys     []wrappedKey
	Entries  []indexEntry
}

// wrappedKey is the body of a key chunk: an age file whose plaintext is the
// epoch's 32-byte key.
type wrappedKey struct {
	Epoch uint32
	Age   []byte
}

func (k *wrappedKey) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(k.Epoch))
	return appendBytes(b, k.Age)
}

func (d *decoder) wrappedKey() wrappedKey {
	return wrappedKey{Epoch: d.uint32("epoch"), Age: d.bytes("wrapped key")}
}

func (x *index) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(x.Previous))
	b = appendBytes(b, x.Header.append(nil))
	b = binary.AppendUvarint(b, uint64(len(x.Keys)))
	for i := range x.Keys {
		b = x.Keys[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(x.Entries)))
	for i := range x.Entries {
		e := &x.Entries[i]
		b = binary.AppendUvarint(b, uint64(e.Offset))
		b = append(b, e.Leaf[:]...)
		b = append(b, byte(e.Head.Type), e.Head.Flags)
		for _, v := range [...]uint64{e.Head.Number, uint64(e.Head.Stored), uint64(e.Head.Size), uint64(e.Head.CRC)} {
			b = binary.AppendUvarint(b, v)
		}
		b = appendBytes(b, e.Head.Meta)
	}
	return b
}

func parseIndex(b []byte, tape [16]byte) (*index, error) {
	d := &decoder{b: b}
	x := &index{Previous: int64(d.uintMax("previous index", 1<<62))}
	hb := d.bytes("file header")
	if d.err == nil {
		h, err := parseFileHeader(hb)
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		x.Header = h
	}
	x.Keys = make([]wrappedKey, d.count("keys", 2, MaxChunk))
	for i := range x.Keys {
		x.Keys[i] = d.wrappedKey()
	}
	x.Entries = make([]indexEntry, d.count("entries", 40, MaxChunk))
	for i := range x.Entries {
		e := &x.Entries[i]
		e.Offset = int64(d.uintMax("offset", 1<<62))
		d.fixed("leaf", e.Leaf[:])
		e.Head = chunkHead{
			Tape: tape, Type: chunkType(d.uint8("type")), Flags: d.uint8("flags"), Number: d.uint("number"),
			Stored: uint32(d.uintMax("stored size", maxStored)), Size: uint32(d.uintMax("size", MaxChunk)),
			CRC: d.uint32("checksum"), Meta: d.bytes("meta"),
		}
		if len(e.Head.Meta) > maxMeta {
			d.fail("meta", errors.New("too long"))
		}
		if d.err == nil && (e.Head.Number == 0 || e.Head.Number > maxNumber) {
			d.fail("number", errors.New("out of range"))
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("index: %w", d.err)
	}
	return x, nil
}

// footer is the meta of the footer chunk, which has no body and a fixed size,
// so that it is found at the end of the file.
type footer struct {
	Index   int64  // offset of the last index chunk
	LastSeq uint64 // number of records on the tape
	Size    uint64 // leaves of the Merkle log before the footer
	Root    [32]byte
}

const (
	footerMeta = 8 + 8 + 8 + 32
	footerSize = chunkHeaderSize + footerMeta
)

func (f *footer) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Index))
	b = binary.LittleEndian.AppendUint64(b, f.LastSeq)
	b = binary.LittleEndian.AppendUint64(b, f.Size)
	return append(b, f.Root[:]...)
}

func parseFooter(b []byte) (footer, error) {
	if len(b) != footerMeta {
		return footer{}, fmt.Errorf("footer: meta of %d bytes, want %d", len(b), footerMeta)
	}
	f := footer{
		Index:   int64(binary.LittleEndian.Uint64(b) &^ (1 << 63)),
		LastSeq: binary.LittleEndian.Uint64(b[8:]), Size: binary.LittleEndian.Uint64(b[16:]),
	}
	copy(f.Root[:], b[24:])
	if f.LastSeq > maxSeq {
		return f, fmt.Errorf("footer: last sequence number %d: out of range", f.LastSeq)
	}
	return f, nil
}
