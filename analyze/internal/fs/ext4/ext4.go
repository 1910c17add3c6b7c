package ext4

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// FS follows one ext2, ext3 or ext4 volume.
type FS struct {
	*super
	dev     fs.Device // the volume as written so far
	layer   *fs.Layer // with committed metadata that has not reached its place
	now     *view     // reads layer
	o       fs.Options
	claims  *blockMap[claim]
	pending *blockMap[pend]
	stamps  stamps
	dirty   map[uint32]*dirt
	touched map[uint32]bool  // announced to the sink since the last commit
	unseen  map[uint64]bool  // no journal: attribute blocks that are not there yet
	wanted  map[uint64]claim // no journal: blocks that a directory maps and others claim
	batch   *fs.Layer        // no journal: metadata as before the current batch
	batched batchMeta
	log     *journal
	fast    *fastState
	crawled bool
	recover []fs.Problem // found while replaying the journal at Open
}

// Open looks at the superblock and the journal. The journal's content is
// replayed into the view, as the kernel would at mount.
func Open(dev fs.Device, o fs.Options) (fs.Filesystem, error) { return open(dev, o) }

// Identify reads the superblock and nothing else.
func Identify(dev fs.Device) (fs.Info, error) {
	s, err := readSuper(dev)
	if err != nil {
		return fs.Info{}, err
	}
	return s.info(), nil
}

func open(dev fs.Device, o fs.Options) (*FS, error) {
	s, err := readSuper(dev)
	if err != nil {
		return nil, err
	}
	if s.incompat&incompatJournalDev != 0 {
		return nil, fs.ErrJournal
	}
	f := &FS{super: s, dev: dev, o: o, layer: fs.NewLayer(dev, s.blockSize)}
	f.reset()
	if s.journaled() {
		if err := f.openJournal(); err != nil {
			f.recover = append(f.recover, problemOf(fmt.Errorf("journal: %w", err), 0))
		}
	}
	return f, nil
}

func (f *FS) reset() {
	f.now = &view{super: f.super, dev: f.layer, budget: newBudget(f.super)}
	f.claims, f.pending = newBlockMap[claim](), newBlockMap[pend]()
	f.dirty, f.touched = map[uint32]*dirt{}, map[uint32]bool{}
	f.unseen, f.wanted = map[uint64]bool{}, map[uint64]claim{}
	f.batch = nil
}

// Info describes the volume.
func (f *FS) Info() fs.Info { return f.info() }

// problemOf files an error under the kind it shows.
func problemOf(err error, n uint32) fs.Problem {
	p := fs.Problem{Kind: fs.ProblemCorrupt, Text: err.Error()}
	if n != 0 {
		p.ID = fs.ID{Num: uint64(n)}
	}
	var u *fs.UnknownError
	switch {
	case errors.As(err, &u):
		p.Kind, p.Off, p.Len = fs.ProblemUnknown, u.Off, u.Len
	case errors.Is(err, fs.ErrUnsupported):
		p.Kind = fs.ProblemUnsupported
	}
	return p
}

// Crawl visits every live inode by reading the inode tables once.
func (f *FS) Crawl(v fs.Visitor) error {
	f.now.budget = newBudget(f.super)
	for _, p := range f.recover {
		v.Problem(p)
	}
	f.recover = nil
	f.claimFixed(v)
	b := f.newBeyond(v)
	for g := range f.groups {
		f.crawlGroup(g, b.used[g], b)
	}
	f.fast.links(b)
	b.crawl()
	f.claimReserved()
	f.outgrown()
	f.crawled = true
	return nil
}

// crawlGroup reads the part of one inode table that was ever used, the first count.
func (f *FS) crawlGroup(g, count uint64, v fs.Visitor) {
	if count == 0 {
		return
	}
	d, err := f.now.group(g)
	if err != nil {
		return
	}
	first := uint32(g*f.inodesPerGroup) + 1
	step := max(1, 65536/f.inodeSize)
	for k := uint64(0); k < count; k += step {
		n := min(step, count-k)
		b := make([]byte, n*f.inodeSize)
		off := d.inodeTable*f.blockSize + k*f.inodeSize
		_, err := f.now.dev.ReadAt(b, int64(off))
		if err != nil {
			v.Problem(problemOf(fmt.Errorf("inodes %d to %d: %w", uint64(first)+k, uint64(first)+k+n-1, err), 0))
			if !fs.IsUnknown(err) {
				continue
			}
		}
		for j := range n {
			slot := b[j*f.inodeSize : (j+1)*f.inodeSize]
			if le.Uint16(slot) == 0 {
				continue
			}
			i := f.decodeInode(first+uint32(k+j), slot)
			if err != nil && !f.now.dev.Known(off+j*f.inodeSize, f.inodeSize) {
				continue
			}
			f.crawlInode(&i, v)
		}
	}
}

func (f *FS) crawlInode(i *inode, v fs.Visitor) {
	if i.num == f.journalInum && f.journaled() || !f.now.live(i) {
		return
	}
	if !f.now.checkInode(i) {
		v.Problem(fs.Problem{Kind: fs.ProblemCorrupt, ID: fs.ID{Num: uint64(i.num)}, Text: "inode: wrong checksum"})
	}
	m := f.mappingOf(i)
	if m.err != nil {
		v.Problem(problemOf(fmt.Errorf("inode %d: %w", i.num, m.err), i.num))
	}
	f.claimInode(i, &m)
	f.claimXattr(i)
	if f.system(i.num) || i.flags&flagEAInode != 0 {
		return
	}
	v.Inode(f.now.attr(i))
	if i.isDir() {
		f.crawlDir(i, &m, v)
	}
}

func (f *FS) crawlDir(i *inode, m *mapping, v fs.Visitor) {
	link := func(es []entry) {
		for _, e := range es {
			if d := dirent(i.num, e); !f.fast.removed(d) {
				v.Link(d)
			}
		}
	}
	if i.inline() {
		es, ok := f.now.inlineEntries(i)
		if !ok {
			v.Problem(fs.Problem{Kind: fs.ProblemCorrupt, ID: fs.ID{Num: uint64(i.num)}, Text: "inline directory: rec_len"})
		}
		link(i.names(es))
		return
	}
	whole := f.now.dirBlocks(m, func(b uint64) {
		raw, err := f.now.block(b)
		if err != nil {
			v.Problem(problemOf(fmt.Errorf("directory %d: %w", i.num, err), i.num))
			return
		}
		if f.o.View == fs.ViewLive && f.now.foreign(i, raw, m.starts(b)) {
			return // a kernel that mounts it shows what lies there
		}
		es, ok := f.parseDir(raw, nil)
		if !ok || !f.now.checkDirBlock(i, raw) {
			v.Problem(fs.Problem{Kind: fs.ProblemCorrupt, ID: fs.ID{Num: uint64(i.num)}, Off: b * f.blockSize, Len: f.blockSize, Text: "directory block: broken or wrong checksum"})
		}
		link(i.names(es))
	})
	if !whole {
		v.Problem(fs.Problem{Kind: fs.ProblemCorrupt, ID: fs.ID{Num: uint64(i.num)}, Text: "directory larger than any can be: read in part"})
	}
}

func dirent(parent uint32, e entry) fs.Dirent {
	return fs.Dirent{Parent: fs.ID{Num: uint64(parent)}, Name: e.name, Child: fs.ID{Num: uint64(e.ino)}, Type: e.typ}
}

// claimReserved maps the log: last, so that nothing a broken image says of its
// files can hide it.
func (f *FS) claimReserved() {
	if f.log == nil || f.log.external {
		return
	}
	for _, r := range f.log.runs {
		f.claims.set(r.physical, r.count, claim{owner: f.journalInum, index: uint32(r.logical), kind: kindJournal})
	}
}

// mappingOf is an inode's mapping with what fast commits have changed of it.
func (f *FS) mappingOf(i *inode) mapping {
	m := f.now.mapping(i)
	return f.fast.mapping(i, m)
}

func (f *FS) lookup(id fs.ID) (inode, error) {
	if id.Space != 0 || id.Num == 0 || id.Num > uint64(f.inodes) {
		return inode{}, fmt.Errorf("inode %v: %w", id, fs.ErrNotFound)
	}
	return f.now.inode(uint32(id.Num))
}

// Stat reads an inode.
func (f *FS) Stat(id fs.ID) (fs.Attr, error) {
	i, err := f.lookup(id)
	if err != nil {
		return fs.Attr{}, err
	}
	a := f.now.attr(&i)
	if !a.Live {
		return fs.Attr{}, fmt.Errorf("inode %v is free: %w", id, fs.ErrNotFound)
	}
	return a, nil
}

// Xattrs reads an inode's extended attributes.
func (f *FS) Xattrs(id fs.ID) ([]fs.Xattr, error) {
	i, err := f.lookup(id)
	if err != nil {
		return nil, err
	}
	f.now.budget = newBudget(f.super)
	return f.now.xattrs(&i)
}

// Committed visits the blocks the journal holds that are not in their place yet.
func (f *FS) Committed(visit func(off uint64, data []byte)) { f.layer.Each(visit) }

// Content opens a file. An inode just freed can still be opened: its blocks are
// gone from it.
func (f *FS) Content(id fs.ID) (fs.Content, error) {
	i, err := f.lookup(id)
	if err != nil {
		return nil, err
	}
	f.now.budget = newBudget(f.super)
	if f.fast.touches(i.num) && i.mapped() {
		m := f.mappingOf(&i)
		return f.now.mapped(&i, &m), nil
	}
	return f.now.content(&i), nil
}
