package ext4

// Without a journal a block that a directory gave up may be another inode's on the disk
// while the directory's own inode, not written since, still maps it. The names that were
// in it go when the other inode comes to claim it.

// losses finds the blocks that a directory's old mapping has and others have claimed. It is
// called before the transaction's inodes release theirs.
func (d *differ) losses(c *change) {
	if d.f.journaled() || !c.oldLive || !c.old.isDir() || !c.remapped() {
		return
	}
	d.f.now.dirBlocks(&c.oldMap, func(b uint64) {
		if was, ok := d.f.claims.get(b); ok && was.owner != c.num {
			if c.lost == nil {
				c.lost = map[uint64]bool{}
			}
			c.lost[b] = true
		}
	})
}

// take notes the blocks of directories among those that an inode is about to claim.
func (d *differ) take(c *change, m *mapping) {
	f := d.f
	if f.journaled() {
		return
	}
	for _, r := range m.runs {
		f.claims.each(r.physical, r.count, func(b, n uint64, was claim, ok bool) {
			if !ok || was.kind != kindDir || was.owner == c.num {
				return
			}
			for k := range n {
				if _, known := d.taken[b+k]; !known {
					if d.taken == nil {
						d.taken = map[uint64]claim{}
					}
					d.taken[b+k] = was.shift(k)
				}
			}
		})
	}
}

// takenDirs removes the names that were in blocks which are not their directories' any
// more.
func (d *differ) takenDirs() {
	for b, was := range d.taken {
		if now, ok := d.f.claims.get(b); ok && now.kind == kindDir && now.owner == was.owner {
			continue
		}
		if dir, err := d.old.inode(was.owner); err == nil {
			d.entries(d.old, &dir, b, was.index == 0, d.removed)
		}
	}
}

// kept compares a block that a directory's number maps before and after, where it is of
// another life or at another place of it than when it was written.
func (d *differ) kept(c *change, b uint64) {
	_, written := d.dirs[b]
	old, err1 := d.old.block(b)
	now, err2 := d.f.now.block(b)
	if d.f.journaled() || written || err1 != nil || err2 != nil {
		return
	}
	was, is := d.old.foreign(&c.old, old, c.oldMap.starts(b)), d.f.now.foreign(&c.new, now, c.newMap.starts(b))
	if !was && is {
		d.entries(d.old, &c.old, b, c.oldMap.starts(b), d.removed)
	}
	if was && !is {
		d.entries(d.f.now, &c.new, b, c.newMap.starts(b), d.added)
	}
}

// wanted gives a block to the directory that maps it too, when what was written to it is
// not of the one that claimed it.
func (d *differ) wanted(b uint64) {
	f := d.f
	w, ok := f.wanted[b]
	delete(f.wanted, b)
	if !ok {
		return
	}
	dir, err := f.now.inode(w.owner)
	if err != nil || !dir.isDir() {
		return
	}
	m := f.mappingOf(&dir)
	f.now.dirBlocks(&m, func(at uint64) {
		if at == b {
			f.claims.set(b, 1, w)
			d.entries(f.now, &dir, b, w.index == 0, d.added)
		}
	})
}

// foreign reports whether a block that a directory maps is still another's: the first block
// of each, and no other, begins with the directory itself (ext4_init_dot_dotdot,
// fs/ext4/namei.c).
func (v *view) foreign(dir *inode, b []byte, first bool) bool {
	if v.journaled() || len(b) < 12 {
		return false
	}
	dot := b[6] == 1 && b[8] == '.' && le.Uint32(b) != 0
	return dot != first || dot && le.Uint32(b) != dir.num
}

// starts reports whether a block is the first of what a mapping maps.
func (m *mapping) starts(b uint64) bool {
	return len(m.runs) > 0 && m.runs[0].logical == 0 && m.runs[0].physical == b
}
