package btrfs

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// btrfs follows one volume: the trees of the last superblock seen, and an index
// from blocks to files for what is written in place (preallocated space, files
// without copy on write) or before its commit.
type btrfs struct {
	dev    fs.Device
	vol    *Volume
	opened error // why part of vol could not be loaded
	cache  *nodeCache
	ledger blockmap.Ledger
	batch  *delta.Batch
	// extents that are new to files whose times stayed
	elsewhere map[fs.ID][]fs.Extent
	now       fs.Stamp    // of the superblock under way
	commits   [2]fs.Stamp // the last two: data older than both will not be claimed any more
}

// Open looks for a btrfs superblock 64 KiB into dev.
func Open(dev fs.Device, _ fs.Options) (fs.Filesystem, error) {
	sb, err := readSuper(dev)
	if err != nil {
		if errors.Is(err, ErrNotBtrfs) {
			return nil, fs.ErrNotFound
		}
		return nil, err
	}
	b := &btrfs{dev: dev, cache: &nodeCache{}, elsewhere: map[fs.ID][]fs.Extent{}}
	b.load(sb)
	b.batch = delta.New(b)
	return b, nil
}

// load makes sb the present state.
func (b *btrfs) load(sb *Superblock) {
	b.vol, b.opened = newVolume(b.dev, sb, b.cache)
	b.opened = errors.Join(b.opened, b.vol.replayLog())
}

// State implements delta.Source.
func (b *btrfs) State(id fs.ID) delta.State { return b.vol.State(id) }

// Identify says what the superblock 64 KiB into dev announces; fs.ErrNotFound
// when it is not of a btrfs.
func Identify(dev fs.Device) (fs.Info, error) {
	sb, err := readSuper(dev)
	if errors.Is(err, ErrNotBtrfs) {
		return fs.Info{}, fs.ErrNotFound
	}
	if err != nil {
		return fs.Info{}, err
	}
	return sb.info(), nil
}

// Info implements fs.Filesystem.
func (b *btrfs) Info() fs.Info { return b.vol.sb.info() }

func (s *Superblock) info() fs.Info {
	u := s.FSID
	i := fs.Info{
		Type: "btrfs", UUID: fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
		Label: s.Label, BlockSize: uint64(s.SectorSize), Size: s.TotalBytes,
		Root: fs.ID{Space: objFSTree, Num: objFirstFree}, Journaled: true,
		Features: []string{s.Csum.String()},
	}
	for k, name := range []string{
		"mixed-backref", "default-subvol", "mixed-bg", "compress-lzo", "compress-zstd", "big-metadata", "extref",
		"raid56", "skinny-metadata", "no-holes", "metadata-uuid", "raid1c34",
	} {
		if s.Incompat>>k&1 != 0 {
			i.Features = append(i.Features, name)
		}
	}
	return i
}

// Crawl implements fs.Filesystem.
func (b *btrfs) Crawl(v fs.Visitor) error {
	problem := func(id fs.ID, err error) {
		if err != nil {
			v.Problem(fs.Problem{Kind: problemKind(err), ID: id, Text: err.Error()})
		}
	}
	problem(fs.ID{}, b.opened)
	if b.vol.sb.Devices > 1 {
		v.Problem(fs.Problem{Kind: fs.ProblemUnsupported, Text: fmt.Sprintf("one of %d devices: what has no copy here is not looked at", b.vol.sb.Devices)})
	}
	b.ledger = blockmap.Ledger{Stored: uint64(b.vol.sb.SectorSize)}
	done := map[fs.ID]bool{}
	for _, space := range b.vol.ids {
		var id fs.ID
		i := &inode{}
		finish := func() {
			if id.Num != 0 {
				done[id] = b.vol.logged[id].inode != nil
				if done[id] {
					i = b.vol.logged[id].inode
				} else {
					i.finish(b.vol)
				}
				problem(id, i.err)
				b.visit(v, id, i)
			}
			i = &inode{}
		}
		err := b.vol.scan(b.vol.trees[space].root, key{obj: objFirstFree}, key{objLastFree, 255, allOnes}, func(k key, item []byte) bool {
			if k.obj != id.Num {
				finish()
				id = fs.ID{Space: space, Num: k.obj}
			}
			i.item(id, k, item)
			return true
		})
		finish()
		problem(fs.ID{Space: space}, err)
	}
	for _, id := range sorted(b.vol.logged) {
		if !done[id] {
			b.visit(v, id, b.vol.logged[id].inode)
		}
	}
	return nil
}

func (b *btrfs) visit(v fs.Visitor, id fs.ID, i *inode) {
	if !i.attr.Live {
		return
	}
	v.Inode(i.attr)
	for _, d := range i.names {
		v.Link(d.Dirent)
	}
	if i.attr.Type == fs.TypeFile {
		b.ledger.Add(id, b.vol.physical(i.extents))
	}
}

// Kept implements fs.Keeper.
func (b *btrfs) Kept() []fs.Dirent { return b.batch.Kept() }

// Stat implements fs.Filesystem.
func (b *btrfs) Stat(id fs.ID) (fs.Attr, error) {
	i, err := b.vol.stat(id)
	if err != nil {
		return fs.Attr{}, err
	}
	return i.attr, i.err
}

// Xattrs implements fs.Filesystem.
func (b *btrfs) Xattrs(id fs.ID) ([]fs.Xattr, error) {
	i, err := b.vol.stat(id)
	if err != nil {
		return nil, err
	}
	return i.xattrs, i.err
}

// Content implements fs.Filesystem.
func (b *btrfs) Content(id fs.ID) (fs.Content, error) {
	i, err := b.vol.stat(id)
	if err != nil {
		return nil, err
	}
	if i.attr.Type != fs.TypeFile {
		return nil, fmt.Errorf("inode %v is not a regular file", id)
	}
	if i.err != nil {
		return nil, i.err
	}
	return newContent(b.vol, i.attr.Size, i.extents), nil
}
