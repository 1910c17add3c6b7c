package ext4

import "github.com/xentape/xentape/analyze/internal/fs"

// kind is what a block is used for.
type kind uint8

const (
	kindFree kind = iota
	kindData      // content of a file or a long link
	kindDir       // directory block
	kindNode      // extent tree node or indirect block
	kindXattr
	kindTable   // inode table; owner is the group
	kindBlockBM // block bitmap; owner is the group
	kindInodeBM // inode bitmap; owner is the group
	kindFixed   // superblock and descriptors
	kindJournal // the log; index counts blocks of it
	kindSystem  // content of the filesystem's own inodes: quota, orphan file, resize
)

func (k kind) String() string {
	return [...]string{"free", "data", "directory", "mapping", "attributes", "inode table",
		"block bitmap", "inode bitmap", "superblock or descriptors", "journal", "system"}[k]
}

// claim says who a block belongs to.
type claim struct {
	owner uint32 // inode, or group for tables and bitmaps
	index uint32 // logical block within the owner
	kind  kind
}

func (c claim) shift(n uint64) claim {
	c.index += uint32(n)
	return c
}

// pend remembers when a block without owner was written: with data=ordered the
// content arrives before the transaction that says whose it is.
type pend struct{ first, last uint32 } // indices into stamps

func (p pend) shift(uint64) pend { return p }

// stamps keeps the stamps that pending blocks refer to.
type stamps struct{ list []fs.Stamp }

func (s *stamps) add(at fs.Stamp) uint32 {
	if k := len(s.list); k > 0 && s.list[k-1] == at {
		return uint32(k - 1)
	}
	s.list = append(s.list, at)
	return uint32(len(s.list) - 1)
}

// contentKind is the claim an inode makes on its mapped blocks.
func (s *super) contentKind(i *inode) kind {
	switch {
	case s.system(i.num) || i.flags&flagEAInode != 0:
		return kindSystem
	case i.isDir():
		return kindDir
	}
	return kindData
}

// claimFixed claims what every group has: superblock copies, descriptors,
// bitmaps and inode table. The claims of groups that follow from descriptors
// never captured are left out and reported.
func (f *FS) claimFixed(v fs.Visitor) {
	s := f.super
	gdtBlocks := (s.groups*s.descSize + s.blockSize - 1) / s.blockSize
	if s.incompat&incompatMetaBG != 0 {
		gdtBlocks = min(gdtBlocks, s.firstMetaBG)
	}
	for g := range s.groups {
		start := s.firstBlock + g*s.blocksPerGroup
		if g == 0 {
			start = s.superBlock()
		}
		if f.now.hasSuper(g) {
			f.claims.set(start, min(1+gdtBlocks, s.blocks-start), claim{kind: kindFixed})
		}
		if db, _ := f.now.descBlock(g); db < s.blocks {
			f.claims.set(db, 1, claim{kind: kindFixed})
		}
		f.claimGroup(g, v)
	}
	f.claims.set(0, s.superBlock()+1, claim{kind: kindFixed})
}

func (f *FS) claimGroup(g uint64, v fs.Visitor) {
	d, err := f.now.group(g)
	if err != nil {
		v.Problem(problemOf(err, 0))
		return
	}
	if !f.now.checkGroup(g) {
		blk, off := f.now.descBlock(g)
		v.Problem(fs.Problem{Kind: fs.ProblemCorrupt, Off: blk*f.blockSize + off, Len: f.descSize, Text: "block group descriptor: wrong checksum"})
	}
	if n := f.now.tableBlocks(); d.inodeTable > 0 && d.inodeTable+n <= f.blocks {
		f.claims.set(d.inodeTable, n, claim{owner: uint32(g), kind: kindTable})
	}
	if d.blockBitmap > 0 && d.blockBitmap < f.blocks {
		f.claims.set(d.blockBitmap, 1, claim{owner: uint32(g), kind: kindBlockBM})
	}
	if d.inodeBitmap > 0 && d.inodeBitmap < f.blocks {
		f.claims.set(d.inodeBitmap, 1, claim{owner: uint32(g), kind: kindInodeBM})
	}
}

// claimInode takes an inode's blocks into the map.
func (f *FS) claimInode(i *inode, m *mapping) {
	k := f.contentKind(i)
	if i.num == f.journalInum && f.journaled() {
		k = kindJournal
	}
	for _, r := range m.runs {
		f.claims.set(r.physical, r.count, claim{owner: i.num, index: uint32(r.logical), kind: k})
	}
	f.claimNodes(i, m.nodes)
}

func (f *FS) claimNodes(i *inode, nodes []uint64) {
	for _, n := range nodes {
		f.claims.set(n, 1, claim{owner: i.num, kind: kindNode})
	}
}

// claimXattr takes the attribute block; several inodes may share one.
func (f *FS) claimXattr(i *inode) {
	if i.acl != 0 && i.acl < f.blocks {
		f.claims.set(i.acl, 1, claim{owner: i.num, kind: kindXattr})
	}
}

// release gives up the blocks of m that still belong to inode n.
func (f *FS) release(n uint32, m *mapping) {
	for _, r := range m.runs {
		f.releaseRun(n, r.physical, r.count)
	}
	for _, b := range m.nodes {
		f.releaseRun(n, b, 1)
	}
}

func (f *FS) releaseRun(n uint32, start, count uint64) {
	var mine []run
	f.claims.each(start, count, func(b, k uint64, c claim, ok bool) {
		if ok && c.owner == n && (c.kind == kindData || c.kind == kindDir || c.kind == kindNode || c.kind == kindXattr || c.kind == kindSystem) {
			mine = append(mine, run{physical: b, count: k})
		}
	})
	for _, r := range mine {
		f.claims.clear(r.physical, r.count)
	}
}
