package btrfs

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Volume is one btrfs filesystem as one superblock saw it. Values made from it
// by at share the device and its caches.
type Volume struct {
	r      io.ReaderAt
	sb     *Superblock
	chunks *chunkMap
	cache  *nodeCache
	trees  map[uint64]subvolume // by id
	ids    []uint64             // of trees, ascending
	refs   map[link]bool        // where subvolumes are entered from
	logged map[fs.ID]loggedInode
}

// link is a place of a subvolume in another.
type link struct{ parent, child, dir uint64 }

// subvolume is one file tree.
type subvolume struct {
	root root
	dir  uint64 // inode of its top directory
}

// nodeCache keeps the blocks read last. A block is immutable as long as its
// generation is; the owner clears the cache when metadata is written.
type nodeCache struct{ slots map[uint64]cached }

type cached struct {
	gen uint64
	n   *node
}

const cacheNodes = 512 // at most 32 MiB

func (c *nodeCache) get(r root) *node {
	if e, ok := c.slots[r.addr]; ok && e.gen == r.gen && e.n.level == r.level {
		return e.n
	}
	return nil
}

func (c *nodeCache) put(r root, n *node) {
	if len(c.slots) >= cacheNodes || c.slots == nil {
		c.slots = make(map[uint64]cached, cacheNodes)
	}
	c.slots[r.addr] = cached{r.gen, n}
}

func (c *nodeCache) clear() { c.slots = nil }

func readSuper(r io.ReaderAt) (*Superblock, error) {
	b := make([]byte, superSize)
	if _, err := r.ReadAt(b, superOffset); err != nil && !(err == io.EOF && string(b[64:72]) == superMagic) {
		if err == io.EOF {
			return nil, ErrNotBtrfs
		}
		return nil, fmt.Errorf("btrfs superblock: %w", err)
	}
	return ParseSuperblock(b)
}

// newVolume loads the chunk tree and the list of subvolumes that sb refers to.
// What could be loaded is returned beside an error.
func newVolume(r io.ReaderAt, sb *Superblock, cache *nodeCache) (*Volume, error) {
	v := &Volume{r: r, sb: sb, chunks: &chunkMap{}, cache: cache, trees: map[uint64]subvolume{}, refs: map[link]bool{}}
	if err := v.chunks.sysChunks(sb.sysChunks, sb.DevID); err != nil {
		return v, err
	}
	all := &chunkMap{}
	var bad error
	err := v.scan(sb.chunks, key{typ: typeChunk}, key{allOnes, typeChunk, allOnes}, func(k key, b []byte) bool {
		if k.typ != typeChunk {
			return true
		}
		c, _, err := parseChunk(k.off, b, sb.DevID)
		if err == nil {
			err = all.add(c)
		}
		if bad == nil {
			bad = err
		}
		return true
	})
	for _, c := range v.chunks.list {
		if _, ok := all.find(c.start); !ok {
			err = errors.Join(err, all.add(c))
		}
	}
	v.chunks = all
	err = errors.Join(err, bad)
	rerr := v.scan(sb.roots, key{obj: objFSTree}, key{objLastFree, typeRootRef, allOnes}, func(k key, b []byte) bool {
		if k.typ == typeRootRef && len(b) >= 8 {
			v.refs[link{k.obj, k.off, le.Uint64(b)}] = true
		}
		if s, ok := parseRoot(k, b); ok {
			v.trees[k.obj] = s
		}
		return true
	})
	for id := range v.trees {
		v.ids = append(v.ids, id)
	}
	slices.Sort(v.ids)
	return v, errors.Join(err, rerr)
}

// parseRoot decodes the root item of a file tree (struct btrfs_root_item). One
// without references is being deleted and cannot be reached any more.
func parseRoot(k key, b []byte) (subvolume, bool) {
	if k.typ != typeRoot || len(b) < 239 || k.obj != objFSTree && (k.obj < objFirstFree || k.obj > objLastFree) {
		return subvolume{}, false
	}
	s := subvolume{root: root{addr: le.Uint64(b[176:]), gen: le.Uint64(b[160:]), level: b[238]}, dir: le.Uint64(b[168:])}
	return s, le.Uint32(b[216:]) > 0 && s.root.level < maxLevel
}

// node reads the tree block r points to, from whichever copy is sound.
func (v *Volume) node(r root) (*node, error) {
	if n := v.cache.get(r); n != nil {
		return n, nil
	}
	size := uint64(v.sb.NodeSize)
	at, err := v.chunks.copies(r.addr, size)
	if err != nil {
		return nil, fmt.Errorf("tree block: %w", err)
	}
	var first error
	for _, off := range at {
		b := make([]byte, size)
		if k, err := v.r.ReadAt(b, int64(off)); err != nil && (err != io.EOF || k < len(b)) {
			if first == nil {
				first = fmt.Errorf("tree block %d at offset %d: %w", r.addr, off, err)
			}
			continue
		}
		n, err := v.sb.parseNode(b, r)
		if err == nil {
			v.cache.put(r, n)
			return n, nil
		}
		if first == nil || fs.IsUnknown(first) {
			first = err
		}
	}
	return nil, first
}
