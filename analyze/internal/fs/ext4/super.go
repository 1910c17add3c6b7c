package ext4

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

var (
	le         = binary.LittleEndian
	be         = binary.BigEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// crc32c is the kernel's: seeded, without the final complement that Go's
// Update applies.
func crc32c(seed uint32, b []byte) uint32 { return ^crc32.Update(^seed, castagnoli, b) }

// Feature bits (fs/ext4/ext4.h).
const (
	compatHasJournal   = 0x4
	compatFastCommit   = 0x400
	compatSparseSuper2 = 0x200
	compatOrphanFile   = 0x1000

	incompatFiletype   = 0x2
	incompatRecover    = 0x4
	incompatJournalDev = 0x8
	incompatMetaBG     = 0x10
	incompatExtents    = 0x40
	incompat64bit      = 0x80
	incompatMMP        = 0x100
	incompatFlexBG     = 0x200
	incompatEAInode    = 0x400
	incompatDirdata    = 0x1000
	incompatCsumSeed   = 0x2000
	incompatLargedir   = 0x4000
	incompatInlineData = 0x8000
	incompatEncrypt    = 0x10000
	incompatCasefold   = 0x20000

	roCompatSparseSuper  = 0x1
	roCompatHugeFile     = 0x8
	roCompatGdtCsum      = 0x10
	roCompatBigalloc     = 0x200
	roCompatMetadataCsum = 0x400
)

// incompatKnown are the incompatible features this reader follows. An encrypted
// or casefolded directory is read with its names as stored.
const incompatKnown = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents |
	incompat64bit | incompatMMP | incompatFlexBG | incompatEAInode | incompatCsumSeed |
	incompatLargedir | incompatInlineData | incompatEncrypt | incompatCasefold

var featureNames = [3][]struct {
	bit  uint32
	name string
}{
	{{0x1, "dir_prealloc"}, {0x4, "has_journal"}, {0x8, "ext_attr"}, {0x10, "resize_inode"}, {0x20, "dir_index"},
		{0x200, "sparse_super2"}, {0x400, "fast_commit"}, {0x800, "stable_inodes"}, {0x1000, "orphan_file"}},
	{{0x2, "filetype"}, {0x4, "needs_recovery"}, {0x8, "journal_dev"}, {0x10, "meta_bg"}, {0x40, "extent"}, {0x80, "64bit"},
		{0x100, "mmp"}, {0x200, "flex_bg"}, {0x400, "ea_inode"}, {0x1000, "dirdata"}, {0x2000, "metadata_csum_seed"},
		{0x4000, "large_dir"}, {0x8000, "inline_data"}, {0x10000, "encrypt"}, {0x20000, "casefold"}},
	{{0x1, "sparse_super"}, {0x2, "large_file"}, {0x8, "huge_file"}, {0x10, "uninit_bg"}, {0x20, "dir_nlink"},
		{0x40, "extra_isize"}, {0x100, "quota"}, {0x200, "bigalloc"}, {0x400, "metadata_csum"}, {0x1000, "read-only"},
		{0x2000, "project"}, {0x8000, "verity"}, {0x10000, "orphan_present"}},
}

const (
	superOffset = 1024
	superSize   = 1024
	superMagic  = 0xef53
	rootInode   = 2
	journalIno  = 8
)

// super is the superblock (struct ext4_super_block).
type super struct {
	blockSize      uint64
	blocks         uint64 // as claimed, cut to the device
	claimed        uint64 // bytes claimed
	firstBlock     uint64 // s_first_data_block: 1 with 1 KiB blocks
	clusterSize    uint64 // blocks per cluster, 1 without bigalloc
	blocksPerGroup uint64
	inodesPerGroup uint64
	inodes         uint32
	inodeSize      uint64
	firstInode     uint32
	descSize       uint64
	groups         uint64
	firstMetaBG    uint64
	reservedGDT    uint64
	compat         uint32
	incompat       uint32
	roCompat       uint32
	uuid           [16]byte
	journalUUID    [16]byte
	unlogged       bool // its journal is on a device that is not at hand
	journalInum    uint32
	orphanFile     uint32
	quota          [3]uint32
	label          string
	csumSeed       uint32
	state          uint16
	lastOrphan     uint32
}

// readSuper decodes the superblock. fs.ErrNotFound when there is none.
func readSuper(dev fs.Device) (*super, error) {
	var b [superSize]byte
	if _, err := dev.ReadAt(b[:], superOffset); err != nil {
		if fs.IsUnknown(err) || err == io.EOF {
			return nil, fs.ErrNotFound
		}
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if le.Uint16(b[0x38:]) != superMagic {
		return nil, fs.ErrNotFound
	}
	return decodeSuper(b[:], dev.Size())
}

// decodeSuper reads 1024 bytes and checks what later arithmetic relies on.
func decodeSuper(b []byte, size uint64) (*super, error) {
	s := &super{
		compat: le.Uint32(b[0x5c:]), incompat: le.Uint32(b[0x60:]), roCompat: le.Uint32(b[0x64:]),
		inodes: le.Uint32(b), firstBlock: uint64(le.Uint32(b[0x14:])),
		blocksPerGroup: uint64(le.Uint32(b[0x20:])), inodesPerGroup: uint64(le.Uint32(b[0x28:])),
		inodeSize: 128, firstInode: 11, descSize: 32, clusterSize: 1,
		firstMetaBG: uint64(le.Uint32(b[0x104:])), reservedGDT: uint64(le.Uint16(b[0xce:])),
		journalInum: le.Uint32(b[0xe0:]), orphanFile: le.Uint32(b[0x280:]), lastOrphan: le.Uint32(b[0xe8:]),
		state: le.Uint16(b[0x3a:]), label: cString(b[0x78:0x88]),
	}
	copy(s.uuid[:], b[0x68:])
	copy(s.journalUUID[:], b[0xd0:])
	s.quota = [3]uint32{le.Uint32(b[0x240:]), le.Uint32(b[0x244:]), le.Uint32(b[0x26c:])}
	logBlock := le.Uint32(b[0x18:])
	if logBlock > 6 {
		return nil, fmt.Errorf("superblock: s_log_block_size %d: %w", logBlock, fs.ErrCorrupt)
	}
	s.blockSize = 1024 << logBlock
	if s.incompat&incompatJournalDev != 0 {
		return s, nil
	}
	if le.Uint32(b[0x4c:]) >= 1 { // s_rev_level: dynamic
		s.inodeSize, s.firstInode = uint64(le.Uint16(b[0x58:])), le.Uint32(b[0x54:])
	}
	s.blocks = uint64(le.Uint32(b[4:]))
	if s.has64() {
		s.blocks |= uint64(le.Uint32(b[0x150:])) << 32
		s.descSize = uint64(le.Uint16(b[0xfe:]))
	}
	if s.bigalloc() {
		logCluster := le.Uint32(b[0x1c:])
		if logCluster < logBlock || logCluster > 20 {
			return nil, fmt.Errorf("superblock: s_log_cluster_size %d: %w", logCluster, fs.ErrCorrupt)
		}
		s.clusterSize = 1 << (logCluster - logBlock)
	}
	s.csumSeed = crc32c(^uint32(0), s.uuid[:])
	if s.incompat&incompatCsumSeed != 0 {
		s.csumSeed = le.Uint32(b[0x270:])
	}
	return s, s.check(size)
}

func (s *super) check(size uint64) error {
	bad := func(field string, v uint64) error {
		return fmt.Errorf("superblock: %s %d: %w", field, v, fs.ErrCorrupt)
	}
	switch {
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || s.inodeSize&(s.inodeSize-1) != 0:
		return bad("s_inode_size", s.inodeSize)
	case s.descSize < 32 || s.descSize > s.blockSize || s.descSize&(s.descSize-1) != 0:
		return bad("s_desc_size", s.descSize)
	case s.blocksPerGroup == 0 || s.blocksPerGroup > 8*s.blockSize*s.clusterSize:
		return bad("s_blocks_per_group", s.blocksPerGroup)
	case s.inodesPerGroup == 0 || s.inodesPerGroup > 8*s.blockSize:
		return bad("s_inodes_per_group", s.inodesPerGroup)
	case s.firstBlock > 1 || s.blocks <= s.firstBlock:
		return bad("s_blocks_count", s.blocks)
	case s.blocks > 1<<48:
		return bad("s_blocks_count", s.blocks)
	case s.incompat&^incompatKnown != 0:
		return fmt.Errorf("incompatible features %#x: %w", s.incompat&^incompatKnown, fs.ErrUnsupported)
	}
	s.claimed = s.blocks * s.blockSize
	s.blocks = min(s.blocks, size/s.blockSize)
	if s.blocks <= s.firstBlock {
		return bad("s_blocks_count against a device of", size)
	}
	s.groups = (s.blocks - s.firstBlock + s.blocksPerGroup - 1) / s.blocksPerGroup
	if n := s.groups * s.inodesPerGroup; uint64(s.inodes) > n {
		s.inodes = uint32(n)
	}
	return nil
}

func (s *super) has64() bool        { return s.incompat&incompat64bit != 0 }
func (s *super) bigalloc() bool     { return s.roCompat&roCompatBigalloc != 0 }
func (s *super) metadataCsum() bool { return s.roCompat&roCompatMetadataCsum != 0 }
func (s *super) groupCsum() bool    { return s.roCompat&(roCompatMetadataCsum|roCompatGdtCsum) != 0 }
func (s *super) journaled() bool    { return s.compat&compatHasJournal != 0 && !s.unlogged }

// mounted reports whether the kernel holds the filesystem read-write: it sets
// needs_recovery at mount and clears it at unmount. Only with a journal.
func (s *super) mounted() bool { return s.incompat&incompatRecover != 0 }

// system reports whether an inode is the filesystem's own and no user's.
func (s *super) system(n uint32) bool {
	if n == rootInode {
		return false
	}
	return n < s.firstInode || n == s.orphanFile || n == s.quota[0] || n == s.quota[1] || n == s.quota[2]
}

// typeName is what blkid would call it.
func (s *super) typeName() string {
	const ext4Only = incompatExtents | incompat64bit | incompatFlexBG | incompatInlineData | incompatMetaBG |
		incompatEAInode | incompatLargedir | incompatEncrypt | incompatCasefold | incompatCsumSeed | incompatMMP
	const ext4RO = 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x8000
	switch {
	case s.incompat&(ext4Only&^incompatMetaBG) != 0 || s.roCompat&ext4RO != 0:
		return "ext4"
	case s.compat&compatHasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

func (s *super) features() []string {
	var out []string
	for i, word := range []uint32{s.compat, s.incompat, s.roCompat} {
		for _, f := range featureNames[i] {
			if word&f.bit != 0 {
				out = append(out, f.name)
			}
		}
	}
	return out
}

func (s *super) info() fs.Info {
	lag := int64(0)
	if !s.journaled() {
		lag = fs.WritebackLag
	}
	grain := int64(0)
	if s.inodeSize < 256 {
		grain = 1e9 // no room for i_ctime_extra
	}
	return fs.Info{
		Grain: grain, Type: s.typeName(), Label: s.label, BlockSize: s.blockSize, Size: s.claimed,
		UUID: uuidText(s.uuid),
		Root: fs.ID{Num: rootInode}, Journaled: s.journaled(), Apart: !s.journaled(), Lag: lag, Features: s.features(),
	}
}

func uuidText(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
