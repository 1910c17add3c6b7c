package btrfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/fs"
)

var le = binary.LittleEndian

const (
	superOffset = 64 << 10 // of the first copy; the others are behind it and written after it
	superSize   = 4096
	superMagic  = "_BHRfS_M"

	maxNodeSize = 64 << 10
	maxLevel    = 8

	incompatLZO          = 1 << 3
	incompatZSTD         = 1 << 4
	incompatNoHoles      = 1 << 9
	incompatMetadataUUID = 1 << 10
	// Features that change where or how things are kept in a way not read here.
	incompatZoned      = 1 << 12
	incompatExtentV2   = 1 << 13
	incompatStripeTree = 1 << 14
	incompatKnown      = 1<<13 - 1 | 1<<16 // all up to zoned, simple quotas
)

// ErrNotBtrfs says that there is no btrfs superblock where one was looked for.
var ErrNotBtrfs = errors.New("not a btrfs superblock")

// root is where a tree starts.
type root struct {
	addr  uint64 // logical address of its block
	gen   uint64
	level uint8
}

// Superblock is the part of struct btrfs_super_block that is used.
type Superblock struct {
	FSID         [16]byte
	MetadataUUID [16]byte // the one stamped into tree blocks
	Generation   uint64
	TotalBytes   uint64
	Devices      uint64
	DevID        uint64 // of this device
	SectorSize   uint32
	NodeSize     uint32
	Incompat     uint64
	Csum         csumType
	Label        string
	roots        root
	chunks       root
	log          root // addr 0: none
	sysChunks    []byte
}

// ParseSuperblock decodes and checks a superblock of 4096 bytes.
func ParseSuperblock(b []byte) (*Superblock, error) {
	if len(b) < superSize {
		return nil, fmt.Errorf("btrfs superblock: %d bytes: %w", len(b), io.ErrUnexpectedEOF)
	}
	if string(b[64:72]) != superMagic {
		return nil, ErrNotBtrfs
	}
	s := &Superblock{
		Generation: le.Uint64(b[72:]), TotalBytes: le.Uint64(b[112:]), Devices: le.Uint64(b[136:]),
		SectorSize: le.Uint32(b[144:]), NodeSize: le.Uint32(b[148:]), Incompat: le.Uint64(b[188:]),
		Csum: csumType(le.Uint16(b[196:])), DevID: le.Uint64(b[201:]),
	}
	copy(s.FSID[:], b[32:48])
	s.MetadataUUID = s.FSID
	if s.Incompat&incompatMetadataUUID != 0 {
		copy(s.MetadataUUID[:], b[571:587])
	}
	label, _, _ := bytes.Cut(b[299:555], []byte{0})
	s.Label = string(label)
	s.roots = root{le.Uint64(b[80:]), s.Generation, b[198]}
	s.chunks = root{le.Uint64(b[88:]), le.Uint64(b[164:]), b[199]}
	// The log is written while the next generation is being prepared.
	s.log = root{le.Uint64(b[96:]), s.Generation + 1, b[200]}
	bad := func(field string, v any) error {
		return fmt.Errorf("btrfs superblock: %s %v is out of range: %w", field, v, fs.ErrCorrupt)
	}
	n := le.Uint32(b[160:])
	switch {
	case !s.Csum.known():
		return nil, fmt.Errorf("btrfs superblock: checksum type %d: %w", s.Csum, fs.ErrUnsupported)
	case !s.Csum.ok(b[:superSize]):
		return nil, fmt.Errorf("btrfs superblock: checksum does not match: %w", fs.ErrCorrupt)
	case s.SectorSize < 512 || s.SectorSize > maxNodeSize || bits.OnesCount32(s.SectorSize) != 1:
		return nil, bad("sector size", s.SectorSize)
	case s.NodeSize < s.SectorSize || s.NodeSize < 4096 || s.NodeSize > maxNodeSize || bits.OnesCount32(s.NodeSize) != 1:
		return nil, bad("node size", s.NodeSize)
	case n > 2048:
		return nil, bad("system chunk array size", n)
	case s.roots.level >= maxLevel || s.chunks.level >= maxLevel || s.log.level >= maxLevel:
		return nil, bad("level", []uint8{s.roots.level, s.chunks.level, s.log.level})
	case s.Incompat&(incompatZoned|incompatExtentV2|incompatStripeTree) != 0 || s.Incompat&^incompatKnown != 0:
		return nil, fmt.Errorf("btrfs superblock: incompatible features %#x: %w", s.Incompat, fs.ErrUnsupported)
	}
	s.sysChunks = append([]byte(nil), b[811:811+n]...)
	return s, nil
}
