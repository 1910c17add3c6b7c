package xfs

import (
	"errors"
	"fmt"
	"time"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	inodeMagic = 0x494e // "IN"
	coreSizeV2 = 100    // literal area of version 1 and 2 inodes starts here
	coreSizeV3 = 176
)

// Fork formats (enum xfs_dinode_fmt).
const (
	formatDev     = 0
	formatLocal   = 1
	formatExtents = 2
	formatBtree   = 3
)

const (
	flags2Reflink = 1 << 1
	flags2Bigtime = 1 << 3
	flags2Nrext64 = 1 << 4

	flagRealtime = 1 // di_flags XFS_DIFLAG_REALTIME

	// bigtimeEpoch is the second that a big timestamp of 0 stands for:
	// -2^31 (fs/xfs/libxfs/xfs_format.h XFS_BIGTIME_EPOCH_OFFSET).
	bigtimeEpoch = -(int64(1) << 31)
)

// ErrNoInode says that the place of an inode holds none.
var ErrNoInode = errors.New("no inode there")

// Inode is one decoded inode. Its forks are views of raw, which it owns.
type Inode struct {
	Ino                        uint64
	Mode                       uint16 // as stat(2); 0 = free
	Version                    uint8
	Format, AttrFormat         uint8
	UID, GID, Nlink, ProjID    uint32
	Atime, Mtime, Ctime, Btime time.Time // Btime is zero before version 3
	Size, Blocks               uint64    // bytes; filesystem blocks
	Extents, AttrExtents       uint64    // in each fork
	ForkOff                    int       // bytes from the literal area to the attribute fork; 0 = none
	Flags                      uint16
	Flags2                     uint64
	Gen                        uint32
	LSN                        uint64 // log position of the last change written in place; version 3
	Changes                    uint64 // di_changecount; version 3
	ChecksumOK                 bool   // true also where the format has no checksum
	literal                    []byte
}

// ParseInode decodes the inode raw, which must be ino's. A free inode is
// returned with Mode 0.
func (s *Superblock) ParseInode(ino uint64, raw []byte) (*Inode, error) {
	if len(raw) < int(s.InodeSize) {
		return nil, fmt.Errorf("inode %d: %d bytes is short of %d", ino, len(raw), s.InodeSize)
	}
	raw = raw[:s.InodeSize]
	if be.Uint16(raw) != inodeMagic {
		return nil, fmt.Errorf("inode %d: magic %#04x: %w", ino, be.Uint16(raw), ErrNoInode)
	}
	i := &Inode{
		Ino: ino, Mode: be.Uint16(raw[2:]), Version: raw[4], Format: raw[5],
		UID: be.Uint32(raw[8:]), GID: be.Uint32(raw[12:]), Nlink: be.Uint32(raw[16:]),
		ProjID: uint32(be.Uint16(raw[20:])) | uint32(be.Uint16(raw[22:]))<<16,
		Size:   be.Uint64(raw[56:]), Blocks: be.Uint64(raw[64:]),
		Extents: uint64(be.Uint32(raw[76:])), AttrExtents: uint64(be.Uint16(raw[80:])),
		ForkOff: int(raw[82]) * 8, AttrFormat: raw[83],
		Flags: be.Uint16(raw[90:]), Gen: be.Uint32(raw[92:]), ChecksumOK: true,
	}
	switch i.Version {
	case 1:
		i.Nlink = uint32(be.Uint16(raw[6:]))
		i.literal = raw[coreSizeV2:]
	case 2:
		i.literal = raw[coreSizeV2:]
	case 3:
		if s.Version != 5 {
			return nil, fmt.Errorf("inode %d: version 3 on a version %d filesystem", ino, s.Version)
		}
		i.Changes, i.LSN, i.Flags2 = be.Uint64(raw[104:]), be.Uint64(raw[112:]), be.Uint64(raw[120:])
		if own := be.Uint64(raw[152:]); own != ino {
			return nil, fmt.Errorf("inode %d: names itself %d: %w", ino, own, ErrNoInode)
		}
		i.ChecksumOK = crcOK(raw, 100)
		i.literal = raw[coreSizeV3:]
		if i.Flags2&flags2Nrext64 != 0 {
			i.Extents, i.AttrExtents = be.Uint64(raw[24:]), uint64(be.Uint32(raw[76:]))
		}
		i.Btime = i.stamp(raw[144:])
	default:
		return nil, fmt.Errorf("inode %d: version %d is not known", ino, i.Version)
	}
	i.Atime, i.Mtime, i.Ctime = i.stamp(raw[32:]), i.stamp(raw[40:]), i.stamp(raw[48:])
	if i.ForkOff >= len(i.literal) {
		return nil, fmt.Errorf("inode %d: attribute fork at %d is beyond the inode", ino, i.ForkOff)
	}
	if i.Size>>63 != 0 {
		return nil, fmt.Errorf("inode %d: size %d is out of range", ino, i.Size)
	}
	return i, nil
}

// stamp decodes an 8-byte timestamp: seconds and nanoseconds of 32 bits, or with
// bigtime nanoseconds since bigtimeEpoch.
func (i *Inode) stamp(b []byte) time.Time {
	if i.Flags2&flags2Bigtime != 0 {
		v := be.Uint64(b)
		return time.Unix(int64(v/1e9)+bigtimeEpoch, int64(v%1e9)).UTC()
	}
	return time.Unix(int64(int32(be.Uint32(b))), int64(int32(be.Uint32(b[4:])))).UTC()
}

// nanos is t in nanoseconds since 1970, as far as those reach (1677 to 2262).
func nanos(t time.Time) int64 {
	switch s := t.Unix(); {
	case t.IsZero() || s < -9223372036:
		return fs.NoTime
	case s > 9223372035:
		return 1<<63 - 1
	default:
		return s*1e9 + int64(t.Nanosecond())
	}
}

// Type is the file type bits of Mode (S_IFMT).
func (i *Inode) Type() uint16 { return i.Mode & 0xf000 }

// The file types of Mode.
const (
	TypeFIFO    = 0x1000
	TypeChar    = 0x2000
	TypeDir     = 0x4000
	TypeBlock   = 0x6000
	TypeRegular = 0x8000
	TypeSymlink = 0xa000
	TypeSocket  = 0xc000
)

// Device is the number of a device node. xfs keeps it as IRIX did: 14 bits of
// major, 18 of minor (sysv_encode_dev).
func (i *Inode) Device() (major, minor uint32) {
	if i.Format != formatDev || len(i.literal) < 4 {
		return 0, 0
	}
	d := be.Uint32(i.literal)
	return d >> 18 & 0x3fff, d & 0x3ffff
}

// dataFork is the literal area of the data fork.
func (i *Inode) dataFork() []byte {
	if i.ForkOff > 0 {
		return i.literal[:i.ForkOff]
	}
	return i.literal
}

// attrFork is the literal area of the attribute fork, nil when there is none.
func (i *Inode) attrFork() []byte {
	if i.ForkOff > 0 {
		return i.literal[i.ForkOff:]
	}
	return nil
}
