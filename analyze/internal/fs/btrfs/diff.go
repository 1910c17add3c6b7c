package btrfs

import (
	"bytes"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// differ walks two versions of one tree beside each other, only where they are
// not the same blocks (the idea of btrfs_compare_trees).
type differ struct {
	old, now *Volume
	since    uint64 // generation of the old superblock: a block newer than that is not in the old tree
	err      error
}

func (d *differ) fail(err error) {
	if err != nil && d.err == nil {
		d.err = err
	}
}

// keys hands over every key that is in only one of the two trees or has another
// content, in order. A root with address 0 is an empty tree.
func (d *differ) keys(a, b root, changed func(k key, old, now []byte)) {
	if a == b {
		return
	}
	kept := map[uint64]bool{}
	fresh := d.leaves(d.now, b, func(r root) bool {
		if r.gen <= d.since {
			kept[r.addr] = true
			return false
		}
		return true
	})
	gone := d.leaves(d.old, a, func(r root) bool { return !kept[r.addr] })
	x, y := &cursor{d: d, v: d.old, leaves: gone}, &cursor{d: d, v: d.now, leaves: fresh}
	okX, okY := x.next(), y.next()
	for okX || okY {
		switch {
		case !okY || okX && x.k.less(y.k):
			changed(x.k, x.item, nil)
			okX = x.next()
		case !okX || y.k.less(x.k):
			changed(y.k, nil, y.item)
			okY = y.next()
		default:
			if !bytes.Equal(x.item, y.item) {
				changed(x.k, x.item, y.item)
			}
			okX, okY = x.next(), y.next()
		}
	}
}

// leaves lists the leaves under r in order, not entering what enter refuses.
func (d *differ) leaves(v *Volume, r root, enter func(root) bool) []root {
	if r.addr == 0 {
		return nil
	}
	var out []root
	seen := map[uint64]bool{}
	var walk func(r root)
	walk = func(r root) {
		if !enter(r) {
			return
		}
		if seen[r.addr] {
			d.fail(fmt.Errorf("tree block %d is reached twice: %w", r.addr, fs.ErrCorrupt))
			return
		}
		seen[r.addr] = true
		if r.level == 0 {
			out = append(out, r)
			return
		}
		n, err := v.node(r)
		if err != nil {
			d.fail(err)
			return
		}
		for i := 0; i < n.n; i++ {
			walk(n.child(i))
		}
	}
	walk(r)
	return out
}

// cursor goes through the items of a list of leaves.
type cursor struct {
	d      *differ
	v      *Volume
	leaves []root
	leaf   *node
	at     int
	k      key
	item   []byte
	begun  bool
}

// next moves to the following item; a leaf that cannot be read, or that goes
// back in the order, is left out.
func (c *cursor) next() bool {
	for {
		if c.leaf != nil && c.at < c.leaf.n {
			k := c.leaf.key(c.at)
			c.at++
			if c.begun && !c.k.less(k) {
				c.d.fail(fmt.Errorf("tree items out of order at %v: %w", k, fs.ErrCorrupt))
				continue
			}
			c.begun, c.k, c.item = true, k, c.leaf.item(c.at-1)
			return true
		}
		if len(c.leaves) == 0 {
			return false
		}
		n, err := c.v.node(c.leaves[0])
		c.leaves = c.leaves[1:]
		c.leaf, c.at = nil, 0
		if err != nil {
			c.d.fail(err)
			continue
		}
		c.leaf = n
	}
}

// inodes lists the inodes that two superblocks' trees may have differently.
func (d *differ) inodes() map[fs.ID]bool {
	out := map[fs.ID]bool{}
	for _, id := range union(d.old.ids, d.now.ids) {
		a, b := d.old.trees[id].root, d.now.trees[id].root
		since := d.since
		if a.addr == 0 {
			d.since = 0 // a new subvolume: all of it, though a snapshot shares its blocks
		}
		d.keys(a, b, func(k key, _, _ []byte) {
			if k.obj >= objFirstFree && k.obj <= objLastFree && k.typ <= typeExtent {
				out[fs.ID{Space: id, Num: k.obj}] = true
			}
		})
		d.since = since
	}
	return out
}

// union merges two ascending lists.
func union(a, b []uint64) []uint64 {
	var out []uint64
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0] < a[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return out
}
