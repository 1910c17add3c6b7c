package fs

import (
	"errors"
	"fmt"
)

// ID names an inode within a volume. Space tells apart numberings that overlap:
// the subvolume of btrfs, the attribute of an NTFS alternate data stream; zero
// where a filesystem has a single numbering.
type ID struct {
	Space uint64
	Num   uint64
}

// String gives the number alone when there is only one numbering.
func (i ID) String() string {
	if i.Space == 0 {
		return fmt.Sprintf("%d", i.Num)
	}
	return fmt.Sprintf("%d:%d", i.Space, i.Num)
}

// Compare orders IDs by space, then number.
func (i ID) Compare(j ID) int {
	switch {
	case i.Space < j.Space:
		return -1
	case i.Space > j.Space:
		return 1
	case i.Num < j.Num:
		return -1
	case i.Num > j.Num:
		return 1
	}
	return 0
}

// Type is the kind of object an inode is.
type Type uint8

// The types of inode. Values are those of the directory entry file type of
// ext4, XFS and btrfs, which agree.
const (
	TypeUnknown Type = iota
	TypeFile
	TypeDir
	TypeCharDevice
	TypeBlockDevice
	TypeFIFO
	TypeSocket
	TypeSymlink
)

// String gives the word used in output.
func (t Type) String() string {
	names := [...]string{"unknown", "file", "dir", "char-device", "block-device", "fifo", "socket", "symlink"}
	if int(t) < len(names) {
		return names[t]
	}
	return names[0]
}

// TypeOfMode translates the S_IFMT bits of a Unix mode.
func TypeOfMode(mode uint16) Type {
	switch mode & 0xf000 {
	case 0x1000:
		return TypeFIFO
	case 0x2000:
		return TypeCharDevice
	case 0x4000:
		return TypeDir
	case 0x6000:
		return TypeBlockDevice
	case 0x8000:
		return TypeFile
	case 0xa000:
		return TypeSymlink
	case 0xc000:
		return TypeSocket
	}
	return TypeUnknown
}

// NoTime marks a timestamp the filesystem does not keep.
const NoTime = int64(-1) << 63

// Attr is what an inode says of itself. Times are nanoseconds since 1970 UTC
// as the guest's clock had them, NoTime where not kept.
type Attr struct {
	ID                         ID
	Generation                 uint64 // differs when the number was reused; 0 where not kept
	Type                       Type   // TypeUnknown with Live false for a free inode
	Live                       bool   // allocated and holding content, with or without a name
	Mode                       uint16 // permission bits, 0–07777
	UID, GID                   uint32
	Links                      uint32 // 0 on a live inode: open but unlinked, or never named
	Size                       uint64 // bytes
	Rdev                       uint32 // device number of a character or block device
	Flags                      uint64 // the filesystem's own, for provenance
	Target                     string // of a symbolic link
	ATime, MTime, CTime, BTime int64
	Encrypted                  bool // content or names are ciphertext
}

// Xattr is one extended attribute with its full name ("user.k", "security.selinux",
// "system.posix_acl_access").
type Xattr struct {
	Name  string
	Value []byte
}

// Dirent is one name in a directory. Names are bytes as stored; NTFS, FAT and
// exFAT give UTF-8.
type Dirent struct {
	Parent ID
	Name   string
	Child  ID
	Type   Type // as the directory says, TypeUnknown where it does not
}

// Stamp is the tape record something was learnt from.
type Stamp struct {
	Seq  uint64 // record sequence number
	Time int64  // ns CLOCK_MONOTONIC of the recording host
}

// Range is a half-open run of bytes [Off, Off+Len).
type Range struct {
	Off uint64 `json:"offset"`
	Len uint64 `json:"length"`
}

// ErrNotFound: not this filesystem, or no such inode.
var ErrNotFound = errors.New("not found")

// ErrCorrupt: a structure contradicts itself or its checksum. Wrapped with the
// offset and the field.
var ErrCorrupt = errors.New("corrupt")

// ErrUnsupported: a feature the reader does not implement. Wrapped with its name.
var ErrUnsupported = errors.New("unsupported")

// ErrJournal: not a filesystem but the journal of one, which follows it.
var ErrJournal = errors.New("the external journal of another volume")

// UnknownError says that bytes were never captured. It is not damage, and they
// are not zeros.
type UnknownError struct {
	Off, Len uint64 // the first unknown run of the range asked for
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("bytes %d+%d of the volume were never captured", e.Off, e.Len)
}

// IsUnknown reports whether err is or wraps an *UnknownError.
func IsUnknown(err error) bool {
	var u *UnknownError
	return errors.As(err, &u)
}
