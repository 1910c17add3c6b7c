package objects

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux/phys"
)

// Where the array of page structures is when the kernel does not say
// (__VMEMMAP_BASE_L4 and _L5).
const (
	vmemmap4 = 0xffffea0000000000
	vmemmap5 = 0xffd4000000000000
)

// CachedPage is one page of a file in the page cache.
type CachedPage struct {
	Index uint64 // in pages from the file's start
	Frame uint64 // guest frame
}

// PageCache lists the cached pages of the inode at addr, ascending. Pages that
// are swapped out (shared memory) or were evicted are not given.
func (v *View) PageCache(addr uint64, visit func(CachedPage)) error {
	base := uint64(vmemmap4)
	if v.K.Space.Levels() == 5 {
		base = vmemmap5
	}
	if a, ok := v.K.Symbol("vmemmap_base"); ok {
		b, err := v.K.Space.U64(a)
		if err != nil {
			return err
		}
		base = b
	}
	o := v.K.At(addr, "inode")
	m := o.Follow("i_mapping", "address_space")
	root := "i_pages.xa_head"
	if !m.Has(root) {
		root = "i_pages.rnode" // until 4.19
	}
	head, size := m.Uint(root), o.Cast(0, "page").Size()
	if o.Err() != nil || size == 0 {
		return errors.Join(o.Err(), fmt.Errorf("inode at %#x: no page cache", addr))
	}
	return v.xarray(head, func(index, entry, span uint64) bool {
		if entry&3 != 0 || entry < base { // a value: swapped out, or a trace of what was evicted
			return true
		}
		frame := (entry - base) / size
		for i := uint64(0); i < span && v.step() == nil; i++ {
			visit(CachedPage{index + i, frame + i})
		}
		return true
	})
}

// FindInode looks a file up by device and number among the inodes the kernel
// keeps for each mounted file system.
func (v *View) FindInode(major, minor uint32, ino uint64) (uint64, error) {
	head, ok := v.K.Symbol("super_blocks")
	if !ok {
		return 0, errors.New("kernel has no symbol super_blocks")
	}
	sb := v.K.At(0, "super_block")
	list, inode := sb.Offset("s_list"), sb.Cast(0, "inode")
	off := inode.Offset("i_sb_list")
	if sb.Err() != nil {
		return 0, sb.Err()
	}
	found := uint64(0)
	var bad error
	err := v.ring(head, func(n uint64) bool {
		s := v.K.At(n-list, "super_block")
		if dev := s.Uint("s_dev"); s.Err() != nil || uint32(dev>>20) != major || uint32(dev&0xfffff) != minor {
			return true
		}
		bad = v.ring(s.Member("s_inodes"), func(n uint64) bool {
			i := v.K.At(n-off, "inode")
			if i.Uint("i_ino") == ino && i.Err() == nil {
				found = n - off
			}
			return found == 0
		})
		return found == 0
	})
	if found != 0 {
		return found, nil
	}
	return 0, errors.Join(err, bad, fmt.Errorf("no inode %d of device %d:%d in memory", ino, major, minor))
}

// Frame is the content of a guest frame.
func (v *View) Frame(f uint64) (*phys.Page, error) { return v.K.Mem.Frame(f) }
