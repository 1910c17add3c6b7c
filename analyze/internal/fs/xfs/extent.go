package xfs

import (
	"fmt"
	"sort"
)

const (
	bmapMagicV4 = 0x424d4150 // "BMAP"
	bmapMagicV5 = 0x424d4133 // "BMA3"
	longHeadV4  = 24         // struct xfs_btree_block, long form
	longHeadV5  = 72

	// maxBtreeLevels is more than a tree of 2^54 blocks of the smallest block
	// size needs; xfs itself computes 5 to 9.
	maxBtreeLevels = 16

	// maxExtents bounds what one file may make us hold: 4 Mi mappings, 128 MiB.
	maxExtents = 4 << 20
)

// Extent maps a run of a fork to the data device, all in filesystem blocks.
type Extent struct {
	Logical   uint64 // first block within the fork
	Block     uint64 // filesystem block number (group and offset)
	Count     uint64
	Unwritten bool // allocated, reads as zeros
}

// decodeExtent unpacks struct xfs_bmbt_rec: 1 bit unwritten, 54 of offset, 52 of
// block, 21 of count.
func decodeExtent(b []byte) Extent {
	h, l := be.Uint64(b), be.Uint64(b[8:])
	return Extent{
		Unwritten: h>>63 != 0,
		Logical:   h >> 9 & (1<<54 - 1),
		Block:     h&0x1ff<<43 | l>>21,
		Count:     l & (1<<21 - 1),
	}
}

// fork names one of the two forks of an inode for messages and tree walks.
type fork struct {
	name    string
	format  uint8
	extents uint64
	area    []byte
}

func (i *Inode) data() fork { return fork{"data fork", i.Format, i.Extents, i.dataFork()} }
func (i *Inode) attr() fork { return fork{"attribute fork", i.AttrFormat, i.AttrExtents, i.attrFork()} }

// Extents lists the mappings of the data fork in logical order. Damage is
// reported beside what could be read.
func (v *Volume) Extents(i *Inode) ([]Extent, error) {
	return v.forkExtents(i, i.data())
}

func (v *Volume) forkExtents(i *Inode, f fork) ([]Extent, error) {
	var out []Extent
	var err error
	switch f.format {
	case formatExtents:
		if f.extents*16 > uint64(len(f.area)) {
			return nil, fmt.Errorf("inode %d: %s: %d extents do not fit in %d bytes", i.Ino, f.name, f.extents, len(f.area))
		}
		for k := 0; k < int(f.extents); k++ {
			out, err = v.addExtent(out, f.area[16*k:])
			if err != nil {
				break
			}
		}
	case formatBtree:
		w := &bmapWalk{v: v, seen: map[uint64]bool{}}
		err = w.root(f.area)
		out = w.out
	default:
		return nil, nil
	}
	if err != nil {
		err = fmt.Errorf("inode %d: %s: %w", i.Ino, f.name, err)
	}
	byLogical := func(a, b int) bool { return out[a].Logical < out[b].Logical }
	if !sort.SliceIsSorted(out, byLogical) {
		sort.SliceStable(out, byLogical)
	}
	return out, err
}

// addExtent decodes and checks one record and appends it.
func (v *Volume) addExtent(out []Extent, b []byte) ([]Extent, error) {
	if len(out) >= maxExtents {
		return out, fmt.Errorf("more than %d extents", maxExtents)
	}
	e := decodeExtent(b)
	if e.Count == 0 {
		return out, fmt.Errorf("extent at block %d is empty", e.Logical)
	}
	if e.Logical+e.Count > 1<<(63-v.sb.BlockLog) {
		return out, fmt.Errorf("extent at block %d is beyond the largest file", e.Logical)
	}
	if _, ok := v.sb.blockOffset(e.Block); !ok {
		return out, fmt.Errorf("extent at block %d points to block %#x beyond the filesystem", e.Logical, e.Block)
	}
	if _, ok := v.sb.blockOffset(e.Block + e.Count - 1); !ok {
		return out, fmt.Errorf("extent at block %d runs %d blocks from %#x beyond the filesystem", e.Logical, e.Count, e.Block)
	}
	return append(out, e), nil
}

// bmapWalk reads a block map btree; each block is visited at most once.
type bmapWalk struct {
	v    *Volume
	seen map[uint64]bool
	out  []Extent
}

// root walks from the root kept in the inode (struct xfs_bmdr_block: level,
// record count, keys, then pointers at the end of the space for keys).
func (w *bmapWalk) root(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("btree root of %d bytes", len(b))
	}
	level, n, most := int(be.Uint16(b)), int(be.Uint16(b[2:])), (len(b)-4)/16
	if level == 0 || level > maxBtreeLevels || n > most {
		return fmt.Errorf("btree root: level %d with %d of %d records", level, n, most)
	}
	return w.children(b[4+8*most:], n, level-1)
}

func (w *bmapWalk) children(ptrs []byte, n, level int) error {
	var first error
	for k := 0; k < n; k++ {
		if err := w.block(be.Uint64(ptrs[8*k:]), level); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (w *bmapWalk) block(fsb uint64, level int) error {
	if w.seen[fsb] {
		return fmt.Errorf("btree block %#x is reached twice", fsb)
	}
	w.seen[fsb] = true
	b, err := w.v.block(fsb)
	if err != nil {
		return fmt.Errorf("btree block %#x: %w", fsb, err)
	}
	magic, head := uint32(bmapMagicV4), longHeadV4
	if w.v.sb.Version == 5 {
		magic, head = bmapMagicV5, longHeadV5
	}
	if m := be.Uint32(b); m != magic {
		return fmt.Errorf("btree block %#x: magic %#08x", fsb, m)
	}
	n, most := int(be.Uint16(b[6:])), (len(b)-head)/16
	if l := int(be.Uint16(b[4:])); l != level || n > most {
		return fmt.Errorf("btree block %#x: level %d where %d was due, %d of %d records", fsb, l, level, n, most)
	}
	if level > 0 {
		return w.children(b[head+8*most:], n, level-1)
	}
	for k := 0; k < n; k++ {
		if w.out, err = w.v.addExtent(w.out, b[head+16*k:]); err != nil {
			return fmt.Errorf("btree block %#x: %w", fsb, err)
		}
	}
	return nil
}
