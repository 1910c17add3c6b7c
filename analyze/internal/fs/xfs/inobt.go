package xfs

import (
	"fmt"
	"sort"
)

const (
	agiMagic    = 0x58414749 // "XAGI"
	inobtV4     = 0x49414254 // "IABT"
	inobtV5     = 0x49414233 // "IAB3"
	shortHeadV4 = 16         // struct xfs_btree_block, short form
	shortHeadV5 = 56

	inodesPerChunk = 64
)

// Chunk is one record of an inode btree: 64 inodes, some of which may not exist
// (sparse) or be free.
type Chunk struct {
	First   uint64 // inode number of the chunk's first
	Present uint64 // bit k: inode First+k has a place on disk
	Free    uint64 // bit k: it is not in use
}

// InUse is the bit set of the chunk's inodes in use.
func (c Chunk) InUse() uint64 { return c.Present &^ c.Free }

// Chunks hands every inode chunk of the filesystem to yield, group by group,
// ascending within each when the tree is sound. Damage ends a subtree, not the
// walk; the first is returned.
func (v *Volume) Chunks(yield func(Chunk)) error {
	var first error
	for ag := uint32(0); ag < v.sb.AGCount; ag++ {
		if err := v.agChunks(ag, yield); err != nil && first == nil {
			first = fmt.Errorf("allocation group %d: %w", ag, err)
		}
	}
	return first
}

func (v *Volume) agChunks(ag uint32, yield func(Chunk)) error {
	bno, level, err := v.inobtRoot(ag)
	if err != nil {
		return err
	}
	w := inobtWalk{v: v, ag: ag, yield: yield, seen: map[uint32]bool{}}
	return w.block(bno, level)
}

// inobtRoot reads the header of group ag's inode btree (struct xfs_agi).
func (v *Volume) inobtRoot(ag uint32) (bno uint32, level int, err error) {
	start := int64(uint64(ag) * uint64(v.sb.AGBlocks) << v.sb.BlockLog)
	b, err := v.read(start+2*int64(v.sb.SectorSize), basicBlock)
	if err != nil {
		return 0, 0, fmt.Errorf("inode header: %w", err)
	}
	if m := be.Uint32(b); m != agiMagic {
		return 0, 0, fmt.Errorf("inode header: magic %#08x", m)
	}
	levels := be.Uint32(b[24:])
	if levels < 1 || levels > maxBtreeLevels {
		return 0, 0, fmt.Errorf("inode header: btree of %d levels", levels)
	}
	return be.Uint32(b[20:]), int(levels) - 1, nil
}

// Allocated asks the inode btree whether ino is in use.
func (v *Volume) Allocated(ino uint64) (bool, error) {
	shift := v.sb.AGBlockLog + v.sb.InodesPerLog
	ag, agino := uint32(ino>>shift), uint32(ino&(1<<shift-1))
	if _, ok := v.sb.inodeOffset(ino); !ok {
		return false, nil
	}
	bno, level, err := v.inobtRoot(ag)
	if err != nil {
		return false, fmt.Errorf("allocation group %d: %w", ag, err)
	}
	w := inobtWalk{v: v, ag: ag}
	for ; ; level-- {
		b, err := w.load(bno, level)
		if err != nil {
			return false, fmt.Errorf("allocation group %d: %w", ag, err)
		}
		n := int(be.Uint16(b.raw[6:]))
		size := 16
		if level > 0 {
			size = 4
		}
		// The last record that starts at or before agino.
		k := sort.Search(n, func(k int) bool { return be.Uint32(b.raw[b.head+size*k:]) > agino }) - 1
		if k < 0 {
			return false, nil
		}
		if level == 0 {
			var c Chunk
			w.yield = func(r Chunk) { c = r }
			w.record(b.raw[b.head+16*k:])
			return ino-c.First < inodesPerChunk && c.InUse()>>(ino-c.First)&1 != 0, nil
		}
		bno = be.Uint32(b.raw[b.ptrs+4*k:])
	}
}

type inobtWalk struct {
	v     *Volume
	ag    uint32
	yield func(Chunk)
	seen  map[uint32]bool
}

// inobtBlock is a checked block of an inode btree.
type inobtBlock struct {
	raw        []byte
	head, ptrs int // where records or keys start, and pointers in a node
}

// load reads block bno, which must be of the level due.
func (w *inobtWalk) load(bno uint32, level int) (inobtBlock, error) {
	sb := w.v.sb
	b, err := w.v.block(uint64(w.ag)<<sb.AGBlockLog | uint64(bno))
	if err != nil {
		return inobtBlock{}, fmt.Errorf("inode btree block %d: %w", bno, err)
	}
	magic, head := uint32(inobtV4), shortHeadV4
	if sb.Version == 5 {
		magic, head = inobtV5, shortHeadV5
	}
	size, n := 16, int(be.Uint16(b[6:]))
	if level > 0 {
		size = 8
	}
	most := (len(b) - head) / size
	if m := be.Uint32(b); m != magic || int(be.Uint16(b[4:])) != level || n > most {
		return inobtBlock{}, fmt.Errorf("inode btree block %d: magic %#08x, level %d, %d records where level %d was due", bno, m, be.Uint16(b[4:]), n, level)
	}
	return inobtBlock{raw: b, head: head, ptrs: head + 4*most}, nil
}

func (w *inobtWalk) block(bno uint32, level int) error {
	if w.seen[bno] {
		return fmt.Errorf("inode btree block %d is reached twice", bno)
	}
	w.seen[bno] = true
	b, err := w.load(bno, level)
	if err != nil {
		return err
	}
	n := int(be.Uint16(b.raw[6:]))
	if level > 0 {
		var first error
		for k := 0; k < n; k++ {
			if err := w.block(be.Uint32(b.raw[b.ptrs+4*k:]), level-1); err != nil && first == nil {
				first = err
			}
		}
		return first
	}
	for k := 0; k < n; k++ {
		w.record(b.raw[b.head+16*k:])
	}
	return nil
}

// record decodes struct xfs_inobt_rec; with sparse chunks the upper half of the
// free count is a mask of holes, one bit for four inodes.
func (w *inobtWalk) record(b []byte) {
	sb := w.v.sb
	c := Chunk{
		First:   uint64(w.ag)<<(sb.AGBlockLog+sb.InodesPerLog) | uint64(be.Uint32(b)),
		Present: ^uint64(0),
		Free:    be.Uint64(b[8:]),
	}
	if sb.Sparse {
		holes := be.Uint16(b[4:])
		for k := 0; k < 16; k++ {
			if holes>>k&1 != 0 {
				c.Present &^= 0xf << (4 * k)
			}
		}
	}
	w.yield(c)
}
