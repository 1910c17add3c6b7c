package ext4

import "github.com/xentape/xentape/analyze/internal/fs"

// beyond is a visitor that remembers the inodes which directories name and a group's
// descriptor says were never used (bg_itable_unused). Both can be: a fast commit makes
// inodes and leaves descriptors alone, and without a journal the descriptor may be
// written last. The rest of the inode table is not read, it may be left from before mkfs.
type beyond struct {
	fs.Visitor
	f    *FS
	used []uint64 // inodes by group
	seen map[uint32]bool
	todo []uint32
}

func (f *FS) newBeyond(v fs.Visitor) *beyond {
	b := &beyond{Visitor: v, f: f, used: make([]uint64, f.groups), seen: map[uint32]bool{}}
	for g := range b.used {
		b.used[g] = f.used(uint64(g))
	}
	return b
}

// used is how many inodes of a group's table were ever used, by its descriptor.
func (f *FS) used(g uint64) uint64 {
	d, err := f.now.group(g)
	if err != nil || d.flags&groupInodeUninit != 0 || d.inodeTable == 0 {
		return 0 // claimGroup has reported it
	}
	return f.inodesPerGroup - min(d.unused, f.inodesPerGroup)
}

// Link implements fs.Visitor.
func (b *beyond) Link(d fs.Dirent) {
	b.Visitor.Link(d)
	n := d.Child.Num - 1
	if g := n / b.f.inodesPerGroup; d.Child.Num == 0 || g >= uint64(len(b.used)) || n%b.f.inodesPerGroup < b.used[g] || b.seen[uint32(d.Child.Num)] {
		return
	}
	b.seen[uint32(d.Child.Num)] = true
	b.todo = append(b.todo, uint32(d.Child.Num))
}

// crawl visits them, and what they name.
func (b *beyond) crawl() {
	for k := 0; k < len(b.todo); k++ {
		if i, err := b.f.now.inode(b.todo[k]); err == nil && i.mode != 0 {
			b.f.crawlInode(&i, b)
		}
	}
}
