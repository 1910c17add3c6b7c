package btrfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	extentHead   = 21 // up to the inline data or the disk address
	extentSize   = 53
	kindInline   = 0
	kindRegular  = 1
	kindPrealloc = 2

	// maxCompressed is the largest extent btrfs compresses, before and after
	// (BTRFS_MAX_UNCOMPRESSED, BTRFS_MAX_COMPRESSED).
	maxCompressed = 128 << 10
)

// compression is how an extent is stored.
type compression uint8

const (
	compressNone compression = iota
	compressZlib
	compressLZO
	compressZstd
)

// extent is a decoded struct btrfs_file_extent_item. Lengths are bytes.
type extent struct {
	born     uint64 // generation of the transaction that wrote it
	logical  uint64 // offset in the file
	length   uint64 // bytes of the file it stands for
	kind     uint8
	compress compression
	disk     uint64 // logical address of the stored bytes; 0 = a hole
	diskLen  uint64
	skip     uint64 // offset into the (uncompressed) extent
	ram      uint64 // uncompressed length of the whole extent
	inline   []byte
}

func parseExtent(id fs.ID, at uint64, b []byte) (extent, error) {
	bad := func(what string, n any) (extent, error) {
		return extent{}, fmt.Errorf("inode %v: extent at %d: %s %v: %w", id, at, what, n, fs.ErrCorrupt)
	}
	if len(b) < extentHead {
		return bad("item of length", len(b))
	}
	e := extent{born: le.Uint64(b), logical: at, ram: le.Uint64(b[8:]), compress: compression(b[16]), kind: b[20]}
	if b[17] != 0 || le.Uint16(b[18:]) != 0 {
		return bad("encryption or encoding", b[17:20])
	}
	if e.compress > compressZstd {
		return bad("compression", e.compress)
	}
	if e.kind == kindInline {
		e.inline = b[extentHead:]
		e.length = e.ram
		if e.ram > maxCompressed {
			return bad("inline length", e.ram)
		}
		return e, nil
	}
	if e.kind > kindPrealloc || len(b) < extentSize {
		return bad("kind", e.kind)
	}
	e.disk, e.diskLen, e.skip, e.length = le.Uint64(b[21:]), le.Uint64(b[29:]), le.Uint64(b[37:]), le.Uint64(b[45:])
	if at+e.length < at || at+e.length > 1<<63 || e.length == 0 {
		return bad("length", e.length)
	}
	if e.disk == 0 {
		return e, nil
	}
	if e.compress != compressNone && (e.ram > maxCompressed || e.diskLen > maxCompressed) {
		return bad("compressed length", e.diskLen)
	}
	if e.skip+e.length < e.skip || e.skip+e.length > e.ram || e.compress == compressNone && e.skip+e.length > e.diskLen {
		return bad("range beyond the extent", e.skip)
	}
	return e, nil
}

// physical translates extents to the volume. Holes are left out; what cannot be
// translated is unknown.
func (v *Volume) physical(es []extent) []fs.Extent {
	var out []fs.Extent
	for _, e := range es {
		x := fs.Extent{Logical: e.logical, Length: e.length}
		switch {
		case e.kind == kindInline:
			x.State = fs.ExtentInline
			x.Physical = uint64(len(e.inline))<<32 | uint64(crc(e.inline)) // changes when the bytes do
		case e.disk == 0:
			continue
		default:
			x.State = fs.ExtentData
			addr, n := e.disk+e.skip, e.length
			if e.compress != compressNone {
				x.State = fs.ExtentCompressed
				addr, n = e.disk, e.diskLen
			}
			if e.kind == kindPrealloc {
				x.State = fs.ExtentUnwritten
			}
			at, err := v.chunks.copies(addr, n)
			if err != nil {
				x.State = fs.ExtentUnknown
				break
			}
			x.Physical = at[0]
		}
		out = append(out, x)
	}
	return out
}
