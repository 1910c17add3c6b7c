package xfs

import (
	"fmt"
)

const (
	symlinkMagic = 0x58534c4d // "XSLM"
	remoteHead   = 56         // header of a remote symlink or attribute block, version 5

	maxSymlink = 1024 // XFS_SYMLINK_MAXLEN
)

// Readlink returns the target of symbolic link i.
func (v *Volume) Readlink(i *Inode) (string, error) {
	if i.Type() != TypeSymlink {
		return "", fmt.Errorf("inode %d is not a symbolic link", i.Ino)
	}
	if i.Size > maxSymlink {
		return "", fmt.Errorf("inode %d: a symbolic link of %d bytes", i.Ino, i.Size)
	}
	if i.Format == formatLocal {
		b := i.dataFork()
		if i.Size > uint64(len(b)) {
			return "", fmt.Errorf("inode %d: a symbolic link of %d bytes does not fit in the inode", i.Ino, i.Size)
		}
		return string(b[:i.Size]), nil
	}
	ext, err := v.Extents(i)
	if err != nil {
		return "", err
	}
	out := make([]byte, 0, i.Size)
	next := uint64(0)
	for _, e := range ext {
		if len(out) == int(i.Size) {
			break
		}
		if e.Logical != next {
			return string(out), fmt.Errorf("inode %d: block %d of the link is not mapped", i.Ino, next)
		}
		next += e.Count
		off, _ := v.sb.blockOffset(e.Block)
		// There is one header for each extent, not for each block.
		b, err := v.read(off, int(min(e.Count<<v.sb.BlockLog, maxSymlink+remoteHead)))
		if err != nil {
			return string(out), err
		}
		if v.sb.Version == 5 {
			n := int(be.Uint32(b[8:]))
			if be.Uint32(b) != symlinkMagic || n <= 0 || n > len(b)-remoteHead {
				return string(out), fmt.Errorf("inode %d: block %#x is not of a symbolic link", i.Ino, e.Block)
			}
			b = b[remoteHead : remoteHead+n]
		}
		out = append(out, b[:min(len(b), int(i.Size)-len(out))]...)
	}
	if len(out) < int(i.Size) {
		return string(out), fmt.Errorf("inode %d: %d bytes of a link of %d", i.Ino, len(out), i.Size)
	}
	return string(out), nil
}
