package ext4

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Inode flags (i_flags).
const (
	flagEncrypt    = 0x800
	flagIndex      = 0x1000
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInline     = 0x10000000
	flagCasefold   = 0x40000000
	goodOldInode   = 128
	inodeBlockSize = 60 // i_block
)

// inode is one slot of an inode table, decoded.
type inode struct {
	num    uint32
	raw    []byte // the whole slot
	mode   uint16
	links  uint16
	uid    uint32
	gid    uint32
	size   uint64
	flags  uint32
	gen    uint32
	dtime  uint32
	acl    uint64 // xattr block
	atime  int64
	ctime  int64
	mtime  int64
	crtime int64
}

// timestamp decodes seconds with the extra word: two bits of epoch, thirty of
// nanoseconds (fs/ext4/ext4.h, "extended timestamps").
func timestamp(sec, extra uint32) int64 {
	s := int64(int32(sec)) + int64(extra&3)<<32
	return s*1e9 + int64(extra>>2)
}

func (s *super) decodeInode(num uint32, b []byte) inode {
	i := inode{
		num: num, raw: b, mode: le.Uint16(b), links: le.Uint16(b[0x1a:]),
		uid:   uint32(le.Uint16(b[2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		gid:   uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16,
		size:  uint64(le.Uint32(b[4:])),
		flags: le.Uint32(b[0x20:]), gen: le.Uint32(b[0x64:]), dtime: le.Uint32(b[0x14:]),
		acl:    uint64(le.Uint32(b[0x68:])),
		crtime: fs.NoTime,
	}
	if s.has64() {
		i.acl |= uint64(le.Uint16(b[0x76:])) << 32
	}
	if i.isFile() || s.incompat&incompatLargedir != 0 {
		i.size |= uint64(le.Uint32(b[0x6c:])) << 32
	}
	extra := 0
	if len(b) > goodOldInode+4 {
		extra = int(le.Uint16(b[0x80:]))
	}
	word := func(off int) uint32 {
		if off+4 > goodOldInode+extra || off+4 > len(b) {
			return 0
		}
		return le.Uint32(b[off:])
	}
	i.ctime = timestamp(le.Uint32(b[0xc:]), word(0x84))
	i.mtime = timestamp(le.Uint32(b[0x10:]), word(0x88))
	i.atime = timestamp(le.Uint32(b[8:]), word(0x8c))
	if 0x98 <= goodOldInode+extra && len(b) >= 0x98 {
		i.crtime = timestamp(word(0x90), word(0x94))
	}
	return i
}

func (i *inode) isDir() bool  { return i.mode&0xf000 == 0x4000 }
func (i *inode) isFile() bool { return i.mode&0xf000 == 0x8000 }
func (i *inode) isLink() bool { return i.mode&0xf000 == 0xa000 }
func (i *inode) inline() bool { return i.flags&flagInline != 0 }

// block is i_block: the root of the mapping, inline data or a short link target.
func (i *inode) block() []byte { return i.raw[0x28 : 0x28+inodeBlockSize] }

// mapped reports whether i_block maps blocks.
func (i *inode) mapped() bool {
	if i.inline() {
		return false
	}
	if i.isLink() {
		return !i.fastLink()
	}
	return i.isDir() || i.isFile()
}

// fastLink: the target is in i_block (ext4_inode_is_fast_symlink).
func (i *inode) fastLink() bool {
	return i.isLink() && i.size < inodeBlockSize && i.flags&flagExtents == 0
}

// offset is where the slot of inode n is, in bytes of the device.
func (v *view) offset(n uint32) (uint64, error) {
	if n == 0 || n > v.inodes {
		return 0, fmt.Errorf("inode %d of %d: %w", n, v.inodes, fs.ErrNotFound)
	}
	g, k := uint64(n-1)/v.inodesPerGroup, uint64(n-1)%v.inodesPerGroup
	d, err := v.group(g)
	if err != nil {
		return 0, err
	}
	off := d.inodeTable*v.blockSize + k*v.inodeSize
	if d.inodeTable == 0 || d.inodeTable >= v.blocks {
		return 0, fmt.Errorf("block group %d: bg_inode_table %d: %w", g, d.inodeTable, fs.ErrCorrupt)
	}
	return off, nil
}

// inode reads slot n, live or not.
func (v *view) inode(n uint32) (inode, error) {
	off, err := v.offset(n)
	if err != nil {
		return inode{}, err
	}
	b := make([]byte, v.inodeSize)
	if _, err := v.dev.ReadAt(b, int64(off)); err != nil {
		return inode{}, fmt.Errorf("inode %d: %w", n, err)
	}
	return v.decodeInode(n, b), nil
}

// allocated reads the inode bitmap. known is false when it was never captured.
func (v *view) allocated(n uint32) (set, known bool) {
	g, k := uint64(n-1)/v.inodesPerGroup, uint64(n-1)%v.inodesPerGroup
	d, err := v.group(g)
	if err != nil {
		return false, false
	}
	if d.flags&groupInodeUninit != 0 {
		return false, true
	}
	var b [1]byte
	if _, err := v.dev.ReadAt(b[:], int64(d.inodeBitmap*v.blockSize+k/8)); err != nil {
		return false, false
	}
	return b[0]>>(k%8)&1 == 1, true
}

// live tells an inode in use from a free one. A freed inode keeps its mode; one
// that is open but unlinked has no links either: the bitmap tells them apart.
// Slots of a table that was never initialised hold anything: the bitmap again.
// Without a journal the bitmap may reach the disk after the inode does.
func (v *view) live(i *inode) bool {
	if i.mode == 0 || fs.TypeOfMode(i.mode) == fs.TypeUnknown {
		return false
	}
	if used, ok := v.used[i.num]; ok {
		return used
	}
	set, known := v.allocated(i.num)
	if !known || !v.journaled() && i.links > 0 {
		return i.links > 0
	}
	return set
}

func (v *view) attr(i *inode) fs.Attr {
	a := fs.Attr{
		ID: fs.ID{Num: uint64(i.num)}, Generation: uint64(i.gen), Type: fs.TypeOfMode(i.mode), Live: v.live(i),
		Mode: i.mode & 0o7777, UID: i.uid, GID: i.gid, Links: uint32(i.links), Size: i.size, Flags: uint64(i.flags),
		ATime: i.atime, MTime: i.mtime, CTime: i.ctime, BTime: i.crtime, Encrypted: i.flags&flagEncrypt != 0,
	}
	switch a.Type {
	case fs.TypeCharDevice, fs.TypeBlockDevice:
		a.Rdev = rdev(i.block())
	case fs.TypeSymlink:
		a.Target = v.target(i)
	}
	return a
}

// rdev: old encoding in i_block[0], new in i_block[1] (fs/ext4/inode.c, ext4_iget).
func rdev(b []byte) uint32 {
	if old := le.Uint32(b); old != 0 {
		return old>>8&0xff<<8 | old&0xff
	}
	return le.Uint32(b[4:])
}

// checkInode verifies a slot's checksum (ext4_inode_csum). True when there is none.
func (v *view) checkInode(i *inode) bool {
	if !v.metadataCsum() {
		return true
	}
	b := append([]byte(nil), i.raw...)
	want := uint32(le.Uint16(b[0x7c:]))
	b[0x7c], b[0x7d] = 0, 0
	wide := len(b) > goodOldInode && le.Uint16(b[0x80:]) >= 4
	if wide {
		want |= uint32(le.Uint16(b[0x82:])) << 16
		b[0x82], b[0x83] = 0, 0
	}
	var num, gen [4]byte
	le.PutUint32(num[:], i.num)
	le.PutUint32(gen[:], i.gen)
	got := crc32c(crc32c(crc32c(v.csumSeed, num[:]), gen[:]), b)
	if !wide {
		got &= 0xffff
	}
	return got == want
}
