package xfs

import (
	"fmt"
	"io"
)

// Volume reads one xfs filesystem. It is read-only, keeps no cache and is safe
// for concurrent use when its reader is.
type Volume struct {
	r  io.ReaderAt
	sb *Superblock
}

// OpenVolume reads the superblock at the start of r. The error is ErrNotXFS when
// something else is there.
func OpenVolume(r io.ReaderAt) (*Volume, error) {
	b := make([]byte, sbSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("xfs superblock: %w", err)
	}
	sb, err := ParseSuperblock(b)
	if err != nil {
		return nil, err
	}
	return &Volume{r: r, sb: sb}, nil
}

// Superblock returns the geometry.
func (v *Volume) Superblock() *Superblock { return v.sb }

// read returns n bytes at byte offset off of the data device.
func (v *Volume) read(off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	k, err := v.r.ReadAt(b, off)
	if k < n && (err == nil || err == io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("offset %d: %w", off, err)
	}
	return b, nil
}

// block returns the content of one filesystem block.
func (v *Volume) block(fsb uint64) ([]byte, error) {
	off, ok := v.sb.blockOffset(fsb)
	if !ok {
		return nil, fmt.Errorf("block %#x is beyond the filesystem", fsb)
	}
	return v.read(off, int(v.sb.BlockSize))
}

// Inode reads inode ino, which may be free (Mode 0).
func (v *Volume) Inode(ino uint64) (*Inode, error) {
	off, ok := v.sb.inodeOffset(ino)
	if !ok {
		return nil, fmt.Errorf("inode %d is beyond the filesystem", ino)
	}
	b, err := v.read(off, int(v.sb.InodeSize))
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return v.sb.ParseInode(ino, b)
}

// Root is the inode number of the root directory.
func (v *Volume) Root() uint64 { return v.sb.RootInode }
