package ext4

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// group is a block group descriptor (struct ext4_group_desc).
type group struct {
	blockBitmap uint64
	inodeBitmap uint64
	inodeTable  uint64
	flags       uint16
	unused      uint64 // inodes at the end of the table never used
}

const (
	groupInodeUninit = 0x1
	groupBlockUninit = 0x2
)

// view reads filesystem structures from a device: the live one, or the same as
// it was before a transaction.
type view struct {
	*super
	dev    fs.Device
	budget *budget
	used   map[uint32]bool // inodes whose bitmap bit fast commits override
}

// budget bounds the work that contradictory structures can cause in one crawl
// or transaction.
type budget struct{ nodes, runs, dirs int64 }

func newBudget(s *super) *budget {
	// A healthy filesystem has at most one mapping node for eight blocks (every
	// file needing an indirect block), and no more runs than blocks.
	// Four million directory blocks are names for more files than inodes exist.
	return &budget{nodes: int64(s.blocks/8) + 4096, runs: int64(s.blocks) + 1<<16, dirs: int64(min(s.blocks, 4<<20)) + 4096}
}

// block reads block n whole.
func (v *view) block(n uint64) ([]byte, error) {
	if n >= v.blocks {
		return nil, fmt.Errorf("block %d beyond the %d of the filesystem: %w", n, v.blocks, fs.ErrCorrupt)
	}
	b := make([]byte, v.blockSize)
	_, err := v.dev.ReadAt(b, int64(n*v.blockSize))
	if err != nil {
		return nil, fmt.Errorf("block %d: %w", n, err)
	}
	return b, nil
}

// descBlock is the block that holds the descriptor of group g, and the offset in it.
func (v *view) descBlock(g uint64) (block, off uint64) {
	per := v.blockSize / v.descSize
	meta := g / per
	off = g % per * v.descSize
	if v.incompat&incompatMetaBG == 0 || meta < v.firstMetaBG {
		return v.superBlock() + 1 + meta, off
	}
	// meta_bg: the first group of each meta group holds its descriptors, after
	// the superblock copy if it has one.
	first := meta * per
	block = v.firstBlock + first*v.blocksPerGroup
	if v.hasSuper(first) {
		block++
	}
	if v.blockSize == 1024 && first == 0 && v.firstBlock == 0 {
		block++ // bigalloc with 1 KiB blocks: the superblock is in block 1
	}
	return block, off
}

// superBlock is the block that holds the primary superblock. With 1 KiB blocks
// it is 1 even where bigalloc makes s_first_data_block 0 (descriptor_loc in
// fs/ext4/super.c).
func (s *super) superBlock() uint64 { return superOffset / s.blockSize }

// hasSuper reports whether group g holds a copy of the superblock.
func (v *view) hasSuper(g uint64) bool {
	if g == 0 {
		return true
	}
	if v.compat&compatSparseSuper2 != 0 {
		return false // the two backups are not where descriptors of interest live
	}
	if g <= 1 || v.roCompat&roCompatSparseSuper == 0 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		p := base
		for p < g {
			p *= base
		}
		if p == g {
			return true
		}
	}
	return false
}

func (v *view) group(g uint64) (group, error) {
	var d group
	if g >= v.groups {
		return d, fmt.Errorf("block group %d of %d: %w", g, v.groups, fs.ErrCorrupt)
	}
	blk, off := v.descBlock(g)
	var b [64]byte
	n := min(v.descSize, 64)
	if _, err := v.dev.ReadAt(b[:n], int64(blk*v.blockSize+off)); err != nil {
		return d, fmt.Errorf("descriptor of block group %d: %w", g, err)
	}
	d.blockBitmap, d.inodeBitmap, d.inodeTable = uint64(le.Uint32(b[0:])), uint64(le.Uint32(b[4:])), uint64(le.Uint32(b[8:]))
	d.flags, d.unused = le.Uint16(b[0x12:]), uint64(le.Uint16(b[0x1c:]))
	if v.descSize >= 64 && v.has64() {
		d.blockBitmap |= uint64(le.Uint32(b[0x20:])) << 32
		d.inodeBitmap |= uint64(le.Uint32(b[0x24:])) << 32
		d.inodeTable |= uint64(le.Uint32(b[0x28:])) << 32
		d.unused |= uint64(le.Uint16(b[0x32:])) << 16
	}
	if !v.groupCsum() {
		d.flags, d.unused = 0, 0
	}
	return d, nil
}

// tableBlocks is the length of one group's inode table in blocks.
func (v *view) tableBlocks() uint64 {
	return (v.inodesPerGroup*v.inodeSize + v.blockSize - 1) / v.blockSize
}

// checkGroup verifies a descriptor's checksum. True when there is none.
func (v *view) checkGroup(g uint64) bool {
	if !v.metadataCsum() {
		return true
	}
	blk, off := v.descBlock(g)
	b := make([]byte, v.descSize)
	if _, err := v.dev.ReadAt(b, int64(blk*v.blockSize+off)); err != nil {
		return true // unknown is reported by whoever needs the descriptor
	}
	want := le.Uint16(b[0x1e:])
	b[0x1e], b[0x1f] = 0, 0
	var num [4]byte
	le.PutUint32(num[:], uint32(g))
	return uint16(crc32c(crc32c(v.csumSeed, num[:]), b)) == want
}
