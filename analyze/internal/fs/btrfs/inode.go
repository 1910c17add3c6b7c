package btrfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

const (
	inodeSize   = 160
	dirItemSize = 30
	maxTarget   = 4096 // PATH_MAX
)

// parseInode decodes struct btrfs_inode_item.
func parseInode(id fs.ID, b []byte) (fs.Attr, error) {
	if len(b) < inodeSize {
		return fs.Attr{}, fmt.Errorf("inode %v: item of %d bytes: %w", id, len(b), fs.ErrCorrupt)
	}
	mode := le.Uint32(b[52:])
	dev := le.Uint64(b[56:])
	a := fs.Attr{
		ID: id, Generation: le.Uint64(b), Type: fs.TypeOfMode(uint16(mode)), Live: true, Mode: uint16(mode & 0o7777),
		UID: le.Uint32(b[44:]), GID: le.Uint32(b[48:]), Links: le.Uint32(b[40:]), Size: le.Uint64(b[16:]),
		Flags: le.Uint64(b[64:]),
		ATime: stamp(b[112:]), CTime: stamp(b[124:]), MTime: stamp(b[136:]), BTime: stamp(b[148:]),
	}
	if a.Type == fs.TypeCharDevice || a.Type == fs.TypeBlockDevice {
		// dev_t as the kernel has it: 12 bits of major, 20 of minor.
		major, minor := uint32(dev>>20)&0xfff, uint32(dev)&0xfffff
		a.Rdev = minor&0xff | major<<8 | minor&^0xff<<12
	}
	if a.BTime == 0 {
		a.BTime = fs.NoTime // never set: the top directory of mkfs
	}
	if a.Size>>63 != 0 {
		return a, fmt.Errorf("inode %v: size %d: %w", id, a.Size, fs.ErrCorrupt)
	}
	return a, nil
}

// stamp decodes struct btrfs_timespec. Seconds that nanoseconds since 1970 in
// 64 bits cannot hold are cut off at their limits.
func stamp(b []byte) int64 {
	s, n := int64(le.Uint64(b)), int64(le.Uint32(b[8:]))
	switch {
	case s > 9223372035:
		return 1<<63 - 1
	case s < -9223372035:
		return fs.NoTime + 1
	}
	return s*1e9 + n
}

// parseDirIndex decodes an entry of a directory; ok is false for what is no name.
func parseDirIndex(parent fs.ID, b []byte) (fs.Dirent, error) {
	if len(b) < dirItemSize {
		return fs.Dirent{}, fmt.Errorf("directory %v: entry of %d bytes: %w", parent, len(b), fs.ErrCorrupt)
	}
	n := int(le.Uint16(b[27:]))
	if n == 0 || dirItemSize+n > len(b) {
		return fs.Dirent{}, fmt.Errorf("directory %v: name of %d bytes: %w", parent, n, fs.ErrCorrupt)
	}
	loc := parseKey(b)
	d := fs.Dirent{Parent: parent, Name: string(b[dirItemSize : dirItemSize+n]), Child: fs.ID{Space: parent.Space, Num: loc.obj}}
	if loc.typ == typeRoot {
		d.Child = fs.ID{Space: loc.obj, Num: objFirstFree} // a subvolume: its top directory
	}
	if t := fs.Type(b[29] & 0x7f); t <= fs.TypeSymlink {
		d.Type = t
	}
	return d, nil
}

// parseXattr decodes a (possibly packed) xattr item.
func parseXattrs(id fs.ID, b []byte, out []fs.Xattr) ([]fs.Xattr, error) {
	for len(b) > 0 {
		if len(b) < dirItemSize {
			return out, fmt.Errorf("inode %v: xattr of %d bytes: %w", id, len(b), fs.ErrCorrupt)
		}
		vn, nn := int(le.Uint16(b[25:])), int(le.Uint16(b[27:]))
		if dirItemSize+nn+vn > len(b) {
			return out, fmt.Errorf("inode %v: xattr name of %d and value of %d bytes: %w", id, nn, vn, fs.ErrCorrupt)
		}
		v := b[dirItemSize+nn : dirItemSize+nn+vn]
		out = append(out, fs.Xattr{Name: string(b[dirItemSize : dirItemSize+nn]), Value: append([]byte(nil), v...)})
		b = b[dirItemSize+nn+vn:]
	}
	return out, nil
}

// indexed is a directory entry with its place in the directory.
type indexed struct {
	index uint64
	fs.Dirent
}

// inode is all items of one inode.
type inode struct {
	attr    fs.Attr
	xattrs  []fs.Xattr
	names   []indexed
	extents []extent
	err     error
}

func (i *inode) fail(err error) {
	if err != nil && i.err == nil {
		i.err = err
	}
}

// item takes one item that belongs to the inode.
func (i *inode) item(id fs.ID, k key, b []byte) {
	var err error
	switch k.typ {
	case typeInode:
		i.attr, err = parseInode(id, b)
	case typeXattr:
		i.xattrs, err = parseXattrs(id, b, i.xattrs)
	case typeDirIndex:
		var d fs.Dirent
		if d, err = parseDirIndex(id, b); err == nil {
			i.names = append(i.names, indexed{k.off, d})
		}
	case typeExtent:
		var e extent
		if e, err = parseExtent(id, k.off, b); err == nil {
			i.extents = append(i.extents, e)
		}
	}
	i.fail(err)
}

// committed reads inode id from its tree, without the log.
func (v *Volume) committed(id fs.ID) *inode {
	i := &inode{}
	t, ok := v.trees[id.Space]
	if !ok {
		return i
	}
	i.fail(v.scan(t.root, key{obj: id.Num}, key{id.Num, typeExtent, allOnes}, func(k key, b []byte) bool {
		i.item(id, k, b)
		return true
	}))
	i.finish(v)
	return i
}

// finish derives what needs all items: order, the target of a link, and which
// subvolumes are entered from a directory. A snapshot of a directory keeps the
// names of subvolumes in it, but they do not lead there.
func (i *inode) finish(v *Volume) {
	i.names = slices.DeleteFunc(i.names, func(d indexed) bool {
		return d.Child.Space != d.Parent.Space && !v.refs[link{d.Parent.Space, d.Child.Space, d.Parent.Num}]
	})
	slices.SortStableFunc(i.xattrs, func(a, b fs.Xattr) int { return strings.Compare(a.Name, b.Name) })
	if i.attr.Type != fs.TypeSymlink || i.attr.Target != "" {
		return
	}
	if i.attr.Size > maxTarget {
		i.fail(fmt.Errorf("inode %v: link of %d bytes: %w", i.attr.ID, i.attr.Size, fs.ErrCorrupt))
		return
	}
	b := make([]byte, i.attr.Size)
	if n, err := newContent(v, i.attr.Size, i.extents).ReadAt(b, 0); n < len(b) {
		i.fail(err)
		return
	}
	i.attr.Target = string(b)
}

// state is what delta compares.
func (i *inode) state() delta.State {
	s := delta.State{Attr: i.attr, Unknown: i.err != nil}
	if !i.attr.Live {
		return delta.State{Unknown: i.err != nil}
	}
	s.Xattrs = i.xattrs
	for _, d := range i.names {
		s.Names = append(s.Names, d.Dirent)
	}
	return s
}

// load reads inode id with the log laid over it.
func (v *Volume) load(id fs.ID) *inode {
	if l, ok := v.logged[id]; ok {
		return l.inode
	}
	return v.committed(id)
}

// loggedInode is an inode as the log tree has it.
type loggedInode struct{ *inode }

// State implements delta.Source.
func (v *Volume) State(id fs.ID) delta.State {
	i := v.load(id)
	s := i.state()
	if s.Attr.Live && s.Attr.Type == fs.TypeFile {
		s.Extents = v.physical(i.extents)
	}
	return s
}

// stat is Stat of fs.Filesystem.
func (v *Volume) stat(id fs.ID) (*inode, error) {
	i := v.load(id)
	if !i.attr.Live {
		if i.err != nil {
			return nil, i.err
		}
		return nil, fmt.Errorf("inode %v: %w", id, fs.ErrNotFound)
	}
	return i, nil
}

// problemKind tells bytes that were not captured from bytes that are wrong.
func problemKind(err error) fs.ProblemKind {
	switch {
	case fs.IsUnknown(err):
		return fs.ProblemUnknown
	case errors.Is(err, fs.ErrUnsupported):
		return fs.ProblemUnsupported
	}
	return fs.ProblemCorrupt
}
