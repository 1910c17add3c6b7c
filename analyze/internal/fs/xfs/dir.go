package xfs

import (
	"errors"
	"fmt"
)

const (
	dirBlockV4 = 0x58443242 // "XD2B": one block holds data and leaf
	dirDataV4  = 0x58443244 // "XD2D"
	dirBlockV5 = 0x58444233 // "XDB3"
	dirDataV5  = 0x58444433 // "XDD3"
	dirHeadV4  = 16         // struct xfs_dir2_data_hdr
	dirHeadV5  = 64         // struct xfs_dir3_data_hdr
	dirFreeTag = 0xffff

	// dirLeafOffset is where in a directory's address space its data ends and
	// its hash index begins (XFS_DIR2_LEAF_OFFSET).
	dirLeafOffset = 1 << 35

	// maxDirEntries and maxBadDirBlocks bound what a hostile directory can cost.
	maxDirEntries   = 16 << 20
	maxBadDirBlocks = 64
)

// Dirent is one name in a directory. "." and ".." are not reported.
type Dirent struct {
	Name string
	Ino  uint64
	Type uint8 // XFS_DIR3_FT_*: 0 unknown, 1 file, 2 directory, 3 char, 4 block, 5 fifo, 6 socket, 7 symlink
}

// ReadDir lists the directory i. What was readable is returned beside an error.
func (v *Volume) ReadDir(i *Inode) ([]Dirent, error) {
	if i.Type() != TypeDir {
		return nil, fmt.Errorf("inode %d is not a directory", i.Ino)
	}
	if i.Format == formatLocal {
		return v.sb.shortDir(i)
	}
	ext, err := v.Extents(i)
	if err != nil && len(ext) == 0 {
		return nil, err
	}
	w := dirWalk{v: v, ino: i.Ino, seen: map[uint64]bool{}, err: err}
	per := uint64(1) << v.sb.DirBlockLog
	m := newMapping(ext)
	for _, e := range ext {
		// A directory block may be spread over extents: take it from where it starts.
		first := (e.Logical + per - 1) / per * per
		for l := first; l < e.Logical+e.Count && l<<v.sb.BlockLog < dirLeafOffset; l += per {
			if !w.block(m, l, int(per)) {
				return w.out, w.err
			}
		}
	}
	return w.out, w.err
}

// dirWalk gathers the entries of one directory.
type dirWalk struct {
	v    *Volume
	ino  uint64
	seen map[uint64]bool // filesystem blocks already used: none can hold two parts of a directory
	out  []Dirent
	bad  int
	err  error
}

func (w *dirWalk) fail(err error) bool {
	w.bad++
	if w.err == nil {
		w.err = fmt.Errorf("directory inode %d: %w", w.ino, err)
	}
	return w.bad < maxBadDirBlocks
}

// block parses the directory block at logical block l; false ends the walk.
func (w *dirWalk) block(m *mapping, l uint64, per int) bool {
	size := int(w.v.sb.BlockSize)
	buf := make([]byte, 0, per*size)
	for k := 0; k < per; k++ {
		fsb, ok := m.block(l + uint64(k))
		if !ok {
			return w.fail(fmt.Errorf("block %d is not mapped", l+uint64(k)))
		}
		if w.seen[fsb] {
			return w.fail(fmt.Errorf("block %#x is mapped twice", fsb))
		}
		w.seen[fsb] = true
		b, err := w.v.block(fsb)
		if err != nil {
			return w.fail(err)
		}
		buf = append(buf, b...)
	}
	var err error
	if w.out, err = w.v.sb.ParseDirBlock(buf, w.out); err != nil {
		return w.fail(fmt.Errorf("block %d: %w", l, err))
	}
	return true
}

// shortDir lists a directory kept inside its inode (struct xfs_dir2_sf_hdr).
func (s *Superblock) shortDir(i *Inode) ([]Dirent, error) {
	b := i.dataFork()
	short := fmt.Errorf("directory inode %d: short form runs past the inode", i.Ino)
	if i.Size < uint64(len(b)) {
		b = b[:i.Size]
	}
	if len(b) < 6 { // the header with the parent's number in four bytes
		return nil, short
	}
	width := 4
	n := int(b[0])
	if b[1] != 0 { // i8count: some inode number needs 8 bytes, so all have them
		width = 8
	}
	at := 2 + width
	extra := 0
	if s.Ftype {
		extra = 1
	}
	out := make([]Dirent, 0, n)
	for k := 0; k < n; k++ {
		if at+3 > len(b) {
			return out, short
		}
		l := int(b[at])
		end := at + 3 + l + extra + width
		if l == 0 || end > len(b) {
			return out, short
		}
		d := Dirent{Name: string(b[at+3 : at+3+l])}
		if s.Ftype {
			d.Type = b[at+3+l]
		}
		if width == 8 {
			d.Ino = be.Uint64(b[end-8:]) & (1<<56 - 1)
		} else {
			d.Ino = uint64(be.Uint32(b[end-4:]))
		}
		out = append(out, d)
		at = end
	}
	return out, nil
}

var errDirEntry = errors.New("entry runs past the block")

// ParseDirBlock appends the entries of one whole directory data block to out.
func (s *Superblock) ParseDirBlock(b []byte, out []Dirent) ([]Dirent, error) {
	if len(b) != s.dirBlockSize() {
		return out, fmt.Errorf("%d bytes are not a directory block", len(b))
	}
	head, end := dirHeadV4, len(b)
	switch m := be.Uint32(b); {
	case s.Version == 4 && m == dirDataV4:
	case s.Version == 5 && m == dirDataV5:
		head = dirHeadV5
	case s.Version == 4 && m == dirBlockV4, s.Version == 5 && m == dirBlockV5:
		// The tail counts the leaf entries that stand before it.
		n := be.Uint32(b[len(b)-8:])
		if uint64(n)*8+8 > uint64(len(b)) {
			return out, fmt.Errorf("%d leaf entries do not fit", n)
		}
		end -= 8 + int(n)*8
		if s.Version == 5 {
			head = dirHeadV5
		}
	default:
		return out, fmt.Errorf("magic %#08x is not of a directory", m)
	}
	extra := 0
	if s.Ftype {
		extra = 1
	}
	for at := head; at < end; {
		if at+8 > end {
			return out, errDirEntry
		}
		if be.Uint16(b[at:]) == dirFreeTag {
			n := int(be.Uint16(b[at+2:]))
			if n < 8 || n&7 != 0 {
				return out, fmt.Errorf("unused entry of %d bytes", n)
			}
			at += n
			continue
		}
		if at+12 > end {
			return out, errDirEntry
		}
		l := int(b[at+8])
		size := (8 + 1 + l + extra + 2 + 7) &^ 7
		if l == 0 || at+size > end {
			return out, errDirEntry
		}
		d := Dirent{Ino: be.Uint64(b[at:]), Name: string(b[at+9 : at+9+l])}
		if s.Ftype {
			d.Type = b[at+9+l]
		}
		at += size
		if d.Name == "." || d.Name == ".." {
			continue
		}
		if len(out) >= maxDirEntries {
			return out, fmt.Errorf("more than %d entries", maxDirEntries)
		}
		out = append(out, d)
	}
	return out, nil
}
