package xfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// Everything xfs keeps on disk is big-endian, checksums excepted.
var be, le = binary.BigEndian, binary.LittleEndian

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BlockSize512 is a basic block: the unit of disk addresses and of the log.
const basicBlock = 512

const (
	sbMagic = 0x58465342 // "XFSB", fs/xfs/libxfs/xfs_format.h XFS_SB_MAGIC
	sbSize  = 512        // as much of the superblock sector as is decoded

	versionNumBits  = 0x000f
	versionDirV2    = 0x2000
	versionLogV2    = 0x0400
	versionMoreBits = 0x8000

	features2Ftype = 0x200

	incompatFtype    = 1 << 0
	incompatSparse   = 1 << 1
	incompatMetaUUID = 1 << 2
	incompatBigtime  = 1 << 3
	incompatRepair   = 1 << 4
	incompatNrext64  = 1 << 5
	incompatExchange = 1 << 6
	incompatParent   = 1 << 7
	incompatMetadir  = 1 << 8
	incompatKnown    = 1<<9 - 1
)

// ErrNotXFS says that there is no xfs superblock where one was looked for.
var ErrNotXFS = errors.New("not an xfs superblock")

// Superblock is the geometry of one xfs filesystem (struct xfs_dsb).
type Superblock struct {
	BlockSize    uint32 // bytes
	Blocks       uint64 // of the data device
	RTBlocks     uint64 // of the realtime device; 0 when there is none
	UUID         [16]byte
	MetaUUID     [16]byte // the one stamped into metadata blocks
	LogStart     uint64   // filesystem block of the internal log; 0 = external log
	RootInode    uint64
	AGBlocks     uint32
	AGCount      uint32
	LogBlocks    uint32
	SectorSize   uint16
	InodeSize    uint16
	InodesPerLog uint8 // log2 of inodes per block
	BlockLog     uint8
	AGBlockLog   uint8
	DirBlockLog  uint8 // log2 of filesystem blocks per directory block
	LogSectSize  uint16
	Label        string
	Version      uint8 // 4 or 5
	LogV2        bool
	Ftype        bool // directory entries carry the file type
	Sparse       bool // inode chunks may be sparse
	Bigtime      bool
	Nrext64      bool
	Incompat     uint32 // as on disk
	ROCompat     uint32 // as on disk
}

// ParseSuperblock decodes and checks a superblock sector. b holds at least 512 bytes.
func ParseSuperblock(b []byte) (*Superblock, error) {
	if len(b) < sbSize {
		return nil, fmt.Errorf("xfs superblock: %d bytes: %w", len(b), io.ErrUnexpectedEOF)
	}
	if be.Uint32(b) != sbMagic {
		return nil, ErrNotXFS
	}
	s := &Superblock{
		BlockSize: be.Uint32(b[4:]), Blocks: be.Uint64(b[8:]), RTBlocks: be.Uint64(b[16:]),
		LogStart: be.Uint64(b[48:]), RootInode: be.Uint64(b[56:]),
		AGBlocks: be.Uint32(b[84:]), AGCount: be.Uint32(b[88:]), LogBlocks: be.Uint32(b[96:]),
		SectorSize: be.Uint16(b[102:]), InodeSize: be.Uint16(b[104:]),
		BlockLog: b[120], InodesPerLog: b[123], AGBlockLog: b[124],
		DirBlockLog: b[192], LogSectSize: be.Uint16(b[194:]),
		Label: string(bytes.TrimRight(b[108:120], "\x00")),
	}
	copy(s.UUID[:], b[32:48])
	s.MetaUUID = s.UUID
	v := be.Uint16(b[100:])
	s.Version = uint8(v & versionNumBits)
	s.LogV2 = v&versionLogV2 != 0
	switch s.Version {
	case 4:
		if v&versionDirV2 == 0 {
			return nil, errors.New("xfs superblock: version 1 directories are not supported")
		}
		s.Ftype = v&versionMoreBits != 0 && be.Uint32(b[200:])&features2Ftype != 0
	case 5:
		s.LogV2 = true
		s.ROCompat, s.Incompat = be.Uint32(b[212:]), be.Uint32(b[216:])
		s.Ftype = s.Incompat&incompatFtype != 0
		s.Sparse = s.Incompat&incompatSparse != 0
		s.Bigtime = s.Incompat&incompatBigtime != 0
		s.Nrext64 = s.Incompat&incompatNrext64 != 0
		if s.Incompat&incompatMetaUUID != 0 {
			copy(s.MetaUUID[:], b[248:264])
		}
	default:
		return nil, fmt.Errorf("xfs superblock: version %d is not supported", s.Version)
	}
	return s, s.check()
}

// check refuses a geometry whose fields contradict each other, so that nothing
// later divides by zero, shifts out of range or allocates by a lie.
func (s *Superblock) check() error {
	bad := func(field string, v any) error { return fmt.Errorf("xfs superblock: %s %v is out of range", field, v) }
	switch {
	case s.BlockSize < 512 || s.BlockSize > 65536 || bits.OnesCount32(s.BlockSize) != 1 || s.BlockSize != 1<<s.BlockLog:
		return bad("block size", s.BlockSize)
	case s.InodeSize < 256 || s.InodeSize > 2048 || bits.OnesCount16(s.InodeSize) != 1 || uint32(s.InodeSize) > s.BlockSize:
		return bad("inode size", s.InodeSize)
	case s.Version == 5 && s.InodeSize < 512:
		return bad("inode size", s.InodeSize)
	case s.InodesPerLog > 8 || s.BlockSize>>s.InodesPerLog != uint32(s.InodeSize):
		return bad("inodes per block", s.InodesPerLog)
	case s.AGCount == 0 || s.AGBlocks < 64:
		return bad("allocation groups", fmt.Sprintf("%d of %d blocks", s.AGCount, s.AGBlocks))
	case s.AGBlockLog > 32 || uint64(s.AGBlocks) > 1<<s.AGBlockLog || s.AGBlockLog > 0 && uint64(s.AGBlocks) <= 1<<(s.AGBlockLog-1):
		return bad("blocks per group log", s.AGBlockLog)
	case s.Blocks > uint64(s.AGCount)*uint64(s.AGBlocks) || s.Blocks <= uint64(s.AGCount-1)*uint64(s.AGBlocks):
		return bad("block count", s.Blocks)
	case s.DirBlockLog > 8 || uint64(s.BlockSize)<<s.DirBlockLog > 65536:
		return bad("directory block log", s.DirBlockLog)
	case s.SectorSize < 512 || s.SectorSize > 32768 || bits.OnesCount16(s.SectorSize) != 1:
		return bad("sector size", s.SectorSize)
	case s.LogStart != 0 && (s.LogBlocks == 0 || s.LogBlocks > s.AGBlocks):
		return bad("log blocks", s.LogBlocks)
	}
	if s.LogStart != 0 {
		if _, ok := s.blockOffset(s.LogStart); !ok {
			return bad("log start", s.LogStart)
		}
	}
	if x := s.Incompat &^ incompatKnown; x != 0 {
		return fmt.Errorf("xfs superblock: unknown incompatible features %#x", x)
	}
	if _, ok := s.inodeOffset(s.RootInode); !ok {
		return bad("root inode", s.RootInode)
	}
	return nil
}

// blockOffset is the byte offset on the data device of filesystem block fsb
// (allocation group in the high bits, block within it in the low).
func (s *Superblock) blockOffset(fsb uint64) (int64, bool) {
	ag, bno := fsb>>s.AGBlockLog, fsb&(1<<s.AGBlockLog-1)
	if ag >= uint64(s.AGCount) || bno >= uint64(s.AGBlocks) {
		return 0, false
	}
	n := ag*uint64(s.AGBlocks) + bno
	if n >= s.Blocks {
		return 0, false
	}
	return int64(n << s.BlockLog), true
}

// inodeOffset is the byte offset on the data device of inode ino.
func (s *Superblock) inodeOffset(ino uint64) (int64, bool) {
	off, ok := s.blockOffset(ino >> s.InodesPerLog)
	if !ok {
		return 0, false
	}
	return off + int64(ino&(1<<s.InodesPerLog-1))*int64(s.InodeSize), true
}

// Size is the length of the data device in bytes.
func (s *Superblock) Size() int64 { return int64(s.Blocks << s.BlockLog) }

// dirBlockSize is bytes in a directory block.
func (s *Superblock) dirBlockSize() int { return int(s.BlockSize) << s.DirBlockLog }

// crcOK checks the crc32c of a version 5 metadata object whose little-endian
// checksum is at offset at and counts as zero (fs/xfs/libxfs/xfs_cksum.h).
func crcOK(b []byte, at int) bool {
	if at+4 > len(b) {
		return false
	}
	c := crc32.Update(0, castagnoli, b[:at])
	c = crc32.Update(c, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(c, castagnoli, b[at+4:]) == le.Uint32(b[at:])
}
