package xfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Fields of an inode item (XFS_ILOG_*).
const (
	logData      = 0x002
	logExt       = 0x004
	logBroot     = 0x008
	logDev       = 0x010
	logAttrData  = 0x040
	logAttrExt   = 0x080
	logAttrBroot = 0x100

	logDataFork = logData | logExt | logBroot
	logAttrFork = logAttrData | logAttrExt | logAttrBroot

	logCoreV2 = 96 // xfs_log_dinode up to di_next_unlinked
)

// inodeItem is a decoded struct xfs_inode_log_format.
type inodeItem struct {
	fields uint32
	ino    uint64
	dev    uint32
	blkno  uint64 // basic block address of the cluster buffer that holds it
}

// parseInodeItem takes the 56-byte form and the packed 52-byte form of 32-bit
// kernels (struct xfs_inode_log_format_32).
func parseInodeItem(b []byte) (inodeItem, error) {
	f := inodeItem{}
	switch len(b) {
	case 56:
		f = inodeItem{fields: le.Uint32(b[4:]), ino: le.Uint64(b[16:]), dev: le.Uint32(b[24:]), blkno: le.Uint64(b[40:])}
	case 52:
		f = inodeItem{fields: le.Uint32(b[4:]), ino: le.Uint64(b[12:]), dev: le.Uint32(b[20:]), blkno: le.Uint64(b[36:])}
	default:
		return f, fmt.Errorf("inode item of %d bytes: %w", len(b), fs.ErrCorrupt)
	}
	return f, nil
}

// inode replays one inode item onto the inode's place.
func (p *replayer) inode(i *item, lsn LSN) {
	f, err := parseInodeItem(i.regions[0])
	if err == nil {
		err = p.replayInode(f, i.regions[1:], lsn)
	}
	if err != nil {
		p.fail(fmt.Errorf("inode item %d: %w", f.ino, err))
	}
}

func (p *replayer) replayInode(f inodeItem, regions [][]byte, lsn LSN) error {
	sb := p.v.sb
	off, ok := sb.inodeOffset(f.ino)
	if !ok || len(regions) == 0 {
		return fmt.Errorf("beyond the filesystem, or without content: %w", fs.ErrCorrupt)
	}
	if p.cancelled(f.blkno) {
		return nil
	}
	size := int(sb.InodeSize)
	sector := off / basicBlock * basicBlock
	whole := max(size, basicBlock)
	buf, known := p.read(sector, whole)
	dst := buf[off-sector : int(off-sector)+size]
	if !known && !(f.selfContained(regions) && size >= basicBlock) {
		return &fs.UnknownError{Off: uint64(off), Len: uint64(size)}
	}
	if dst[4] >= 3 && be.Uint16(dst) == inodeMagic && newer(LSN(be.Uint64(dst[112:])), lsn) {
		return nil
	}
	if err := sb.mergeCore(dst, regions[0], f.ino, lsn); err != nil {
		return err
	}
	if err := sb.mergeForks(dst, f, regions); err != nil {
		return err
	}
	if dst[4] >= 3 {
		setCRC(dst, 100)
	}
	p.w.put(sector, buf, lsn)
	return nil
}

// selfContained reports whether an item says all of an inode, so that what was
// on disk before does not matter.
func (f inodeItem) selfContained(regions [][]byte) bool {
	core := regions[0]
	if len(core) < coreSizeV3 {
		return false
	}
	data := f.fields&(logDataFork|logDev) != 0 || core[5] == formatExtents && le.Uint32(core[76:]) == 0 && le.Uint64(core[24:]) == 0
	attr := f.fields&logAttrFork != 0 || core[82] == 0
	return data && attr
}

// coreFields are the multi-byte fields of the inode core that the log keeps in
// the machine's order (little-endian) and the disk in big-endian: offset, width.
// Left out: next_unlinked, crc and lsn, which recovery does not take from the log.
var coreFields = [...][2]int{
	{2, 2}, {8, 4}, {12, 4}, {16, 4}, {20, 2}, {22, 2}, {56, 8}, {64, 8}, {72, 4}, {76, 4},
	{80, 2}, {84, 4}, {88, 2}, {90, 2}, {92, 4},
}

// mergeCore writes the logged core (struct xfs_log_dinode) into an on-disk inode.
func (s *Superblock) mergeCore(dst, core []byte, ino uint64, lsn LSN) error {
	if len(core) < logCoreV2 || le.Uint16(core) != inodeMagic {
		return fmt.Errorf("core of %d bytes: %w", len(core), fs.ErrCorrupt)
	}
	v3 := core[4] >= 3
	if v3 && (len(core) < coreSizeV3 || s.Version != 5 || len(dst) < coreSizeV3) {
		return fmt.Errorf("version %d core of %d bytes: %w", core[4], len(core), fs.ErrCorrupt)
	}
	if v3 && le.Uint64(core[152:]) != ino {
		return fmt.Errorf("core names itself inode %d: %w", le.Uint64(core[152:]), fs.ErrCorrupt)
	}
	if be.Uint16(dst) != inodeMagic {
		clear(dst)
		be.PutUint16(dst, inodeMagic)
		be.PutUint32(dst[96:], ^uint32(0))
	}
	dst[4], dst[5], dst[82], dst[83] = core[4], core[5], core[82], core[83]
	for _, f := range coreFields {
		swapField(dst, core, f[0], f[1])
	}
	flags2 := uint64(0)
	if v3 {
		flags2 = le.Uint64(core[120:])
		swapField(dst, core, 104, 8)
		swapField(dst, core, 120, 8)
		swapField(dst, core, 128, 4)
		swapTime(dst, core, 144, flags2)
		be.PutUint64(dst[112:], uint64(lsn))
		be.PutUint64(dst[152:], ino)
		copy(dst[160:176], core[160:176])
	}
	if flags2&flags2Nrext64 != 0 {
		swapField(dst, core, 24, 8)
	} else {
		clear(dst[24:30])
		swapField(dst, core, 30, 2)
	}
	for _, at := range []int{32, 40, 48} {
		swapTime(dst, core, at, flags2)
	}
	return nil
}

func swapField(dst, src []byte, at, width int) {
	for k := 0; k < width; k++ {
		dst[at+k] = src[at+width-1-k]
	}
}

// swapTime converts a timestamp: one number with bigtime, else two.
func swapTime(dst, src []byte, at int, flags2 uint64) {
	if flags2&flags2Bigtime != 0 {
		swapField(dst, src, at, 8)
		return
	}
	swapField(dst, src, at, 4)
	swapField(dst, src, at+4, 4)
}

// mergeForks writes the logged forks into an on-disk inode whose core is merged.
func (s *Superblock) mergeForks(dst []byte, f inodeItem, regions [][]byte) error {
	head := coreSizeV2
	if dst[4] >= 3 {
		head = coreSizeV3
	}
	data, attr := dst[head:], []byte(nil)
	if at := int(dst[82]) * 8; at > 0 {
		if at >= len(data) {
			return fmt.Errorf("attribute fork at %d: %w", at, fs.ErrCorrupt)
		}
		data, attr = data[:at], data[at:]
	}
	if f.fields&logDev != 0 && len(data) >= 4 {
		be.PutUint32(data, f.dev)
	}
	next := 1
	if k := f.fields & logDataFork; k != 0 {
		if err := s.mergeFork(data, regions, next, k == logBroot); err != nil {
			return fmt.Errorf("data fork: %w", err)
		}
		next++
	}
	if k := f.fields & logAttrFork; k != 0 {
		if err := s.mergeFork(attr, regions, next, k == logAttrBroot); err != nil {
			return fmt.Errorf("attribute fork: %w", err)
		}
	}
	return nil
}

func (s *Superblock) mergeFork(area []byte, regions [][]byte, k int, btree bool) error {
	if k >= len(regions) {
		return fmt.Errorf("region %d is missing: %w", k, fs.ErrCorrupt)
	}
	r := regions[k]
	if !btree {
		if len(r) > len(area) {
			// A region is padded to 4 bytes, a fork area is a multiple of 8.
			return fmt.Errorf("%d bytes do not fit in %d: %w", len(r), len(area), fs.ErrCorrupt)
		}
		copy(area, r)
		return nil
	}
	return s.mergeRoot(area, r)
}

// mergeRoot packs an incore btree root, as logged, into its form in the inode
// (xfs_bmbt_to_bmdr).
func (s *Superblock) mergeRoot(area, r []byte) error {
	head := longHeadV4
	if s.Version == 5 {
		head = longHeadV5
	}
	if len(r) < head || len(area) < 4 {
		return fmt.Errorf("btree root of %d bytes: %w", len(r), fs.ErrCorrupt)
	}
	n, from, to := int(be.Uint16(r[6:])), (len(r)-head)/16, (len(area)-4)/16
	if n > from || n > to {
		return fmt.Errorf("btree root of %d records where %d fit: %w", n, min(from, to), fs.ErrCorrupt)
	}
	copy(area[:4], r[4:8])
	copy(area[4:4+8*n], r[head:])
	copy(area[4+8*to:4+8*to+8*n], r[head+8*from:])
	return nil
}
