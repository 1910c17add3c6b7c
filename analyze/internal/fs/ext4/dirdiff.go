package ext4

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// directory compares the parts of a directory that came or went.
func (d *differ) directory(c *change) {
	wasDir, isDir := c.oldLive && c.old.isDir(), c.newLive && c.new.isDir()
	if !wasDir && !isDir || d.f.system(c.num) {
		return
	}
	if d.t.basis == fs.BasisFastCommit && !c.old.inline() && !c.new.inline() {
		return // the tags carry the names; the blocks are written with the full commit
	}
	was, is := map[uint64]bool{}, map[uint64]bool{}
	each := func(m *mapping, set map[uint64]bool) {
		d.f.now.dirBlocks(m, func(b uint64) { set[b] = true })
	}
	if c.remapped() {
		if wasDir {
			each(&c.oldMap, was)
		}
		if isDir {
			each(&c.newMap, is)
		}
	}
	for b := range was {
		if !is[b] && !c.lost[b] {
			d.entries(d.old, &c.old, b, c.oldMap.starts(b), d.removed)
			delete(d.dirs, b)
		}
	}
	for b := range is {
		if was[b] {
			d.kept(c, b)
		} else {
			d.entries(d.f.now, &c.new, b, c.newMap.starts(b), d.added)
			delete(d.dirs, b)
		}
	}
	if wasDir && c.old.inline() {
		es, _ := d.old.inlineEntries(&c.old)
		count(d.removed, c.num, c.old.names(es))
	}
	if isDir && c.new.inline() {
		es, ok := d.f.now.inlineEntries(&c.new)
		if !ok {
			d.problems = append(d.problems, problemOf(fmt.Errorf("inline directory %d: rec_len: %w", c.num, fs.ErrCorrupt), c.num))
		}
		count(d.added, c.num, c.new.names(es))
	}
}

func (d *differ) entries(v *view, dir *inode, b uint64, first bool, into map[direntKey]entryCount) {
	raw, err := v.block(b)
	if err != nil {
		d.problems = append(d.problems, problemOf(fmt.Errorf("directory %d: %w", dir.num, err), dir.num))
		return
	}
	if v.foreign(dir, raw, first) {
		return
	}
	es, ok := v.parseDir(raw, nil)
	if !ok || !v.checkDirBlock(dir, raw) {
		if v != d.f.now {
			return // what lay there was no directory yet
		}
		d.problems = append(d.problems, problemOf(fmt.Errorf("directory %d, block %d: broken or wrong checksum: %w", dir.num, b, fs.ErrCorrupt), dir.num))
		if !v.journaled() {
			return // not written yet: what lies there is of the block's last owner
		}
	}
	count(into, dir.num, dir.names(es))
}

func count(into map[direntKey]entryCount, dir uint32, es []entry) {
	for _, e := range es {
		k := direntKey{dir, e.name, e.ino}
		c := into[k]
		into[k] = entryCount{c.n + 1, e.typ}
	}
}

// touchedDirs compares directory blocks that stayed in place.
func (d *differ) touchedDirs() {
	for b, c := range d.dirs {
		now, ok := d.f.claims.get(b)
		if !ok || now.kind != kindDir || now.owner != c.owner {
			continue // came or went: directory has seen to it
		}
		old, err := d.old.inode(c.owner)
		if err != nil {
			old = inode{num: c.owner}
		}
		next, err := d.f.now.inode(c.owner)
		if err != nil {
			next = inode{num: c.owner}
		}
		d.entries(d.old, &old, b, c.index == 0, d.removed)
		if raw, err := d.f.now.block(b); err == nil && d.f.now.foreign(&next, raw, now.index == 0) {
			d.wanted(b)
			continue
		}
		d.entries(d.f.now, &next, b, now.index == 0, d.added)
	}
}
