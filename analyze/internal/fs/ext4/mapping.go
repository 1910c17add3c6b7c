package ext4

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// run maps blocks of a file onto blocks of the disk.
type run struct {
	logical   uint64
	physical  uint64
	count     uint64
	unwritten bool
}

// mapping is where an inode's blocks are: runs ascending by logical block, and
// the blocks that hold the mapping itself.
type mapping struct {
	runs  []run
	nodes []uint64
	err   error // the first part that could not be read; the rest stands
}

const (
	extentMagic    = 0xf30a
	extentMaxDepth = 5
	extentInitMax  = 32768 // lengths above mean unwritten (EXT_INIT_MAX_LEN)
)

// mapping walks i_block.
func (v *view) mapping(i *inode) mapping {
	var m mapping
	if !i.mapped() {
		return m
	}
	w := walker{v: v, m: &m, seen: map[uint64]bool{}}
	if i.flags&flagExtents != 0 {
		w.extents(i.block(), extentMaxDepth+1)
	} else {
		w.indirect(i.block())
	}
	slices.SortStableFunc(m.runs, func(a, b run) int {
		switch {
		case a.logical < b.logical:
			return -1
		case a.logical > b.logical:
			return 1
		}
		return 0
	})
	return m
}

// walker gathers one inode's mapping; seen breaks loops.
type walker struct {
	v    *view
	m    *mapping
	seen map[uint64]bool
}

func (w *walker) fail(err error) {
	if w.m.err == nil {
		w.m.err = err
	}
}

// node reads a mapping block once.
func (w *walker) node(n uint64) []byte {
	if w.seen[n] || n == 0 {
		w.fail(fmt.Errorf("mapping block %d used twice: %w", n, fs.ErrCorrupt))
		return nil
	}
	w.seen[n] = true
	if w.v.budget.nodes--; w.v.budget.nodes < 0 {
		w.fail(fmt.Errorf("more mapping blocks than the filesystem can hold: %w", fs.ErrCorrupt))
		return nil
	}
	b, err := w.v.block(n)
	if err != nil {
		w.fail(err)
		return nil
	}
	w.m.nodes = append(w.m.nodes, n)
	return b
}

func (w *walker) add(logical, physical, count uint64, unwritten bool) {
	if physical == 0 || count == 0 || physical+count > w.v.blocks {
		w.fail(fmt.Errorf("run of %d blocks at %d outside the filesystem: %w", count, physical, fs.ErrCorrupt))
		return
	}
	if k := len(w.m.runs); k > 0 {
		p := &w.m.runs[k-1]
		if p.unwritten == unwritten && p.logical+p.count == logical && p.physical+p.count == physical {
			p.count += count
			return
		}
	}
	if w.v.budget.runs--; w.v.budget.runs < 0 {
		w.fail(fmt.Errorf("more runs than the filesystem has blocks: %w", fs.ErrCorrupt))
		return
	}
	w.m.runs = append(w.m.runs, run{logical, physical, count, unwritten})
}

// extents walks one node of an extent tree (struct ext4_extent_header). depth
// is one more than the deepest this node may say it is.
func (w *walker) extents(b []byte, depth int) {
	if len(b) < 12 || le.Uint16(b) != extentMagic {
		w.fail(fmt.Errorf("extent header: eh_magic %#x: %w", le.Uint16(b), fs.ErrCorrupt))
		return
	}
	entries, level := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	if level >= depth {
		w.fail(fmt.Errorf("extent header: eh_depth %d: %w", level, fs.ErrCorrupt))
		return
	}
	if 12+12*entries > len(b) {
		w.fail(fmt.Errorf("extent header: eh_entries %d: %w", entries, fs.ErrCorrupt))
		entries = len(b)/12 - 1
	}
	for k := range entries {
		e := b[12+12*k:]
		if level > 0 {
			child := uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
			if nb := w.node(child); nb != nil {
				w.extents(nb, level)
			}
			continue
		}
		count, unwritten := uint64(le.Uint16(e[4:])), false
		if count > extentInitMax {
			count, unwritten = count-extentInitMax, true
		}
		w.add(uint64(le.Uint32(e)), uint64(le.Uint32(e[8:]))|uint64(le.Uint16(e[6:]))<<32, count, unwritten)
	}
}

// indirect walks the block map of ext2 and ext3: twelve direct blocks, then
// one, two and three levels.
func (w *walker) indirect(b []byte) {
	per := w.v.blockSize / 4
	for k := range 12 {
		if p := uint64(le.Uint32(b[4*k:])); p != 0 {
			w.add(uint64(k), p, 1, false)
		}
	}
	logical, span := uint64(12), per
	for level := 1; level <= 3; level++ {
		if p := uint64(le.Uint32(b[4*(11+level):])); p != 0 {
			w.level(p, level, logical, span/per)
		}
		logical += span
		span *= per
	}
}

// level walks an indirect block whose entries each cover span blocks.
func (w *walker) level(n uint64, level int, logical, span uint64) {
	b := w.node(n)
	for k := 0; k+4 <= len(b); k += 4 {
		p := uint64(le.Uint32(b[k:]))
		at := logical + uint64(k/4)*span
		switch {
		case p == 0:
		case level == 1:
			w.add(at, p, 1, false)
		default:
			w.level(p, level-1, at, span/(w.v.blockSize/4))
		}
	}
}

func (m *mapping) equal(o *mapping) bool {
	return slices.Equal(m.runs, o.runs) && slices.Equal(m.nodes, o.nodes)
}

// maxDirBlocks bounds one directory: 2 GiB of 4 KiB blocks, the limit of the
// kernel's two-level hash tree.
const maxDirBlocks = 1 << 19

// dirBlocks visits the blocks of a directory, as many as the budget allows.
// False when it was cut short.
func (v *view) dirBlocks(m *mapping, do func(b uint64)) bool {
	left := int64(maxDirBlocks)
	for _, r := range m.runs {
		for b := r.physical; b < r.physical+r.count; b++ {
			if left--; left < 0 || v.budget.dirs <= 0 {
				return false
			}
			v.budget.dirs--
			do(b)
		}
	}
	return true
}
