package xfs

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

func id(ino uint64) fs.ID { return fs.ID{Num: ino} }

// inUse reads inode ino when the inode btree says that it is allocated. The
// place of a freed chunk may still hold what looks like a live inode.
func (v *Volume) inUse(ino uint64) (*Inode, error) {
	ok, err := v.Allocated(ino)
	if err != nil {
		// Without the btree an inode has to speak for itself.
		if i, e := v.Inode(ino); e == nil && i.Version == 3 && i.ChecksumOK && i.Mode != 0 {
			return i, nil
		}
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("inode %d: %w", ino, fs.ErrNotFound)
	}
	i, err := v.Inode(ino)
	if err != nil {
		return nil, err
	}
	if i.Mode == 0 {
		return nil, fmt.Errorf("inode %d: %w", ino, fs.ErrNotFound)
	}
	return i, nil
}

// stat translates a live inode; the error concerns a link target only.
func (v *Volume) stat(i *Inode) (fs.Attr, error) {
	a := fs.Attr{
		ID: id(i.Ino), Generation: uint64(i.Gen), Type: fs.TypeOfMode(i.Mode), Live: true,
		Mode: i.Mode & 0o7777, UID: i.UID, GID: i.GID, Links: i.Nlink, Size: i.Size,
		Flags: uint64(i.Flags) | i.Flags2<<16,
		ATime: nanos(i.Atime), MTime: nanos(i.Mtime), CTime: nanos(i.Ctime), BTime: nanos(i.Btime),
	}
	var err error
	switch a.Type {
	case fs.TypeSymlink:
		a.Target, err = v.Readlink(i)
	case fs.TypeCharDevice, fs.TypeBlockDevice:
		major, minor := i.Device()
		a.Rdev = minor&0xff | major<<8 | minor&^0xff<<12
	}
	return a, err
}

// State implements delta.Source: all that is known of inode d now.
func (v *Volume) State(d fs.ID) delta.State {
	i, err := v.inUse(d.Num)
	if err != nil {
		return delta.State{Unknown: !errors.Is(err, fs.ErrNotFound)}
	}
	s := delta.State{}
	note := func(err error) {
		if err != nil {
			s.Unknown = true
		}
	}
	s.Attr, err = v.stat(i)
	note(err)
	s.Xattrs, err = v.Xattrs(i)
	note(err)
	switch s.Attr.Type {
	case fs.TypeDir:
		s.Names, err = v.names(i)
		note(err)
	case fs.TypeFile:
		s.Extents, err = v.fileExtents(i)
		note(err)
	}
	return s
}

func (v *Volume) names(i *Inode) ([]fs.Dirent, error) {
	ds, err := v.ReadDir(i)
	out := make([]fs.Dirent, 0, len(ds))
	for _, d := range ds {
		t := fs.Type(d.Type)
		if t > fs.TypeSymlink {
			t = fs.TypeUnknown
		}
		out = append(out, fs.Dirent{Parent: id(i.Ino), Name: d.Name, Child: id(d.Ino), Type: t})
	}
	return out, err
}
