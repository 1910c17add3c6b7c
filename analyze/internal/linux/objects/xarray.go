package objects

import "fmt"

// maxHeight bounds xarray and radix trees: 64-bit indices, 6 bits a level.
const maxHeight = 12

// tree is an xarray, or the radix tree it replaced in 4.20, which marked its
// nodes with the other low bit (lib/radix-tree.c, include/linux/xarray.h).
type tree struct {
	node  string // structure of a node
	inner uint64 // low two bits of a pointer to a node
}

// xarray visits the entries below head, by ascending index; a multi-index entry
// is given once, with how many indices it covers.
func (v *View) xarray(head uint64, visit func(index, entry, span uint64) bool) error {
	t := tree{"xa_node", 2}
	if v.K.Types.Struct("xa_node") == nil {
		t = tree{"radix_tree_node", 1}
	}
	if !t.isNode(head) {
		if head != 0 && head&3 != t.inner {
			visit(0, head, 1)
		}
		return nil
	}
	_, err := t.walk(v, head, 0, 0, visit)
	return err
}

func (t tree) isNode(e uint64) bool { return e&3 == t.inner && e > 4096 }

// sibling entries repeat the entry of a lower slot of the same node.
func (t tree) isSibling(e uint64) bool { return e&3 == t.inner && e>>2 < 64 && t.inner == 2 }

func (t tree) walk(v *View, entry, base uint64, depth int, visit func(index, entry, span uint64) bool) (bool, error) {
	if depth > maxHeight {
		return false, fmt.Errorf("xarray node %#x: deeper than any index needs", entry)
	}
	n := v.K.At(entry&^3, t.node)
	shift := n.Uint("shift")
	slots, ok := n.Field("slots")
	if n.Err() != nil || !ok {
		return false, fmt.Errorf("xarray node %#x: %w", entry, n.Err())
	}
	if shift >= 64 {
		return false, fmt.Errorf("xarray node %#x: shift %d", entry, shift)
	}
	for i := uint64(0); i < slots.Count; i++ {
		if err := v.step(); err != nil {
			return false, err
		}
		e, err := v.K.Space.U64(n.Addr + slots.Offset + 8*i)
		if err != nil {
			return false, fmt.Errorf("xarray node %#x slot %d: %w", entry, i, err)
		}
		switch {
		case e == 0 || t.isSibling(e):
		case t.isNode(e):
			if shift == 0 {
				return false, fmt.Errorf("xarray node %#x: a node below the lowest level", entry)
			}
			if more, err := t.walk(v, e, base+i<<shift, depth+1, visit); err != nil || !more {
				return more, err
			}
		case e&3 != t.inner: // others are retry and zero entries
			span := uint64(1)
			for i+span < slots.Count {
				s, err := v.K.Space.U64(n.Addr + slots.Offset + 8*(i+span))
				if err != nil || !t.isSibling(s) {
					break
				}
				span++
			}
			if !visit(base+i<<shift, e, span<<shift) {
				return false, nil
			}
		}
	}
	return true, nil
}
