package objects

import "fmt"

// Types of maple tree nodes (include/linux/maple_tree.h).
const (
	mapleLeaf64  = 1
	mapleRange64 = 2
	mapleArange  = 3
)

// maple visits the regions in a process's maple tree.
func (v *View) maple(m *Memory, visit func(Region)) error {
	root := m.o.Ptr("mm_mt.ma_root")
	if m.o.Err() != nil {
		return m.o.Err()
	}
	if !mapleIsNode(root) {
		if root == 0 {
			return nil
		}
		r, err := v.region(root)
		if err == nil {
			visit(r)
		}
		return err
	}
	return v.mapleNode(root, 0, ^uint64(0), 0, visit)
}

// mapleIsNode is xa_is_node: a node's pointer has its low bits 10.
func mapleIsNode(e uint64) bool { return e&3 == 2 && e > 4096 }

// mapleNode walks one node, which covers [lo, hi]. Slot i covers up to pivot i;
// a zero pivot after the first, or one at or over hi, ends the node.
func (v *View) mapleNode(entry, lo, hi uint64, depth int, visit func(Region)) error {
	if depth > maxHeight {
		return fmt.Errorf("maple node %#x: tree is too deep", entry)
	}
	kind := entry >> 3 & 15
	name := "maple_range_64"
	switch kind {
	case mapleLeaf64, mapleRange64:
	case mapleArange:
		name = "maple_arange_64"
	default:
		return fmt.Errorf("maple node %#x: type %d", entry, kind)
	}
	n := v.K.At(entry&^0xff, name)
	pivots, _ := n.Field("pivot")
	slots, ok := n.Field("slot")
	if !ok {
		return n.Err()
	}
	for i := uint64(0); i < slots.Count && lo <= hi; i++ {
		if err := v.step(); err != nil {
			return err
		}
		end := hi
		if i < pivots.Count {
			p, err := v.K.Space.U64(n.Addr + pivots.Offset + 8*i)
			if err != nil {
				return fmt.Errorf("maple node %#x: %w", entry, err)
			}
			if p != 0 || i == 0 {
				end = min(p, hi)
			}
		}
		e, err := v.K.Space.U64(n.Addr + slots.Offset + 8*i)
		if err != nil {
			return fmt.Errorf("maple node %#x: %w", entry, err)
		}
		switch {
		case e == 0:
		case kind == mapleLeaf64:
			r, err := v.region(e)
			if err != nil {
				return err
			}
			if r.Start != lo || r.End-1 != end {
				return fmt.Errorf("vm_area_struct at %#x: [%#x, %#x) lies where the maple tree has [%#x, %#x]", e, r.Start, r.End, lo, end)
			}
			visit(r)
		default:
			// Inner slots hold nodes without the root's marking bit.
			if err := v.mapleNode(e, lo, end, depth+1, visit); err != nil {
				return err
			}
		}
		if end >= hi {
			return nil
		}
		lo = end + 1
	}
	return nil
}
