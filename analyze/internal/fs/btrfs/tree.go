package btrfs

import (
	"fmt"
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	headerSize = 101 // struct btrfs_header
	itemSize   = 25  // struct btrfs_item
	ptrSize    = 33  // struct btrfs_key_ptr
	keySize    = 17  // struct btrfs_disk_key
)

// Key types (include/uapi/linux/btrfs_tree.h).
const (
	typeInode     = 1
	typeInodeRef  = 12
	typeInodeXRef = 13
	typeXattr     = 24
	typeDirLogIdx = 72
	typeDirIndex  = 96
	typeExtent    = 108
	typeRoot      = 132
	typeRootRef   = 156
	typeChunk     = 228
)

// Object ids.
const (
	objFSTree    = 5
	objFirstFree = 256
	objLastFree  = ^uint64(0) - 255
	objTreeLog   = ^uint64(0) - 5

	allOnes = ^uint64(0)
)

// key orders everything in a tree.
type key struct {
	obj uint64
	typ uint8
	off uint64
}

func parseKey(b []byte) key { return key{le.Uint64(b), b[8], le.Uint64(b[9:])} }

func (k key) less(l key) bool {
	if k.obj != l.obj {
		return k.obj < l.obj
	}
	if k.typ != l.typ {
		return k.typ < l.typ
	}
	return k.off < l.off
}

// node is a checked tree block.
type node struct {
	b     []byte
	level uint8
	n     int
}

func (n *node) key(i int) key {
	if n.level > 0 {
		return parseKey(n.b[headerSize+ptrSize*i:])
	}
	return parseKey(n.b[headerSize+itemSize*i:])
}

// child is where pointer i of an inner node leads.
func (n *node) child(i int) root {
	p := n.b[headerSize+ptrSize*i+keySize:]
	return root{addr: le.Uint64(p), gen: le.Uint64(p[8:]), level: n.level - 1}
}

// item is the content of item i of a leaf.
func (n *node) item(i int) []byte {
	p := n.b[headerSize+itemSize*i+keySize:]
	at, size := headerSize+int(le.Uint32(p)), int(le.Uint32(p[4:]))
	return n.b[at : at+size : at+size]
}

// first is the index of the first key not below k.
func (n *node) first(k key) int {
	return sort.Search(n.n, func(i int) bool { return !n.key(i).less(k) })
}

// parseNode checks a tree block against the pointer that led to it.
func (s *Superblock) parseNode(b []byte, at root) (*node, error) {
	bad := func(what string, v any) error {
		return fmt.Errorf("tree block %d: %s %v: %w", at.addr, what, v, fs.ErrCorrupt)
	}
	n := &node{b: b, level: b[100], n: int(le.Uint32(b[96:]))}
	switch {
	case !s.Csum.ok(b):
		return nil, bad("checksum", "does not match")
	case [16]byte(b[32:48]) != s.MetadataUUID && [16]byte(b[32:48]) != s.FSID:
		return nil, bad("filesystem id", fmt.Sprintf("%x", b[32:48]))
	case le.Uint64(b[48:]) != at.addr:
		return nil, bad("names itself", le.Uint64(b[48:]))
	case le.Uint64(b[80:]) != at.gen:
		return nil, bad("generation", fmt.Sprintf("%d where %d was due", le.Uint64(b[80:]), at.gen))
	case n.level != at.level:
		return nil, bad("level", n.level)
	}
	size := itemSize
	if n.level > 0 {
		size = ptrSize
	}
	if n.n < 0 || n.n > (len(b)-headerSize)/size {
		return nil, bad("item count", n.n)
	}
	for i := 0; i < n.n; i++ {
		if i > 0 && !n.key(i-1).less(n.key(i)) {
			return nil, bad("key order", n.key(i))
		}
		if n.level > 0 {
			continue
		}
		p := b[headerSize+itemSize*i+keySize:]
		if uint64(le.Uint32(p))+uint64(le.Uint32(p[4:])) > uint64(len(b)-headerSize) {
			return nil, bad("item beyond the block", n.key(i))
		}
	}
	return n, nil
}

// scanner walks part of a tree; no block may be reached twice.
type scanner struct {
	v        *Volume
	from, to key
	yield    func(k key, item []byte) bool
	seen     map[uint64]bool
	err      error // first damage; the walk goes on beside it
}

// scan hands over all items between from and to, both included, in order, until
// yield returns false. Subtrees that cannot be read are left out and the first
// reason is returned.
func (v *Volume) scan(r root, from, to key, yield func(k key, item []byte) bool) error {
	s := scanner{v: v, from: from, to: to, yield: yield, seen: map[uint64]bool{}}
	s.walk(r)
	return s.err
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *scanner) walk(r root) bool {
	if s.seen[r.addr] {
		s.fail(fmt.Errorf("tree block %d is reached twice: %w", r.addr, fs.ErrCorrupt))
		return true
	}
	s.seen[r.addr] = true
	n, err := s.v.node(r)
	if err != nil {
		s.fail(err)
		return true
	}
	if n.level == 0 {
		for i := n.first(s.from); i < n.n; i++ {
			k := n.key(i)
			if s.to.less(k) || !s.yield(k, n.item(i)) {
				return false
			}
		}
		return true
	}
	// The child before the first key not below from may hold from as well.
	i := n.first(s.from)
	if i > 0 && (i == n.n || s.from.less(n.key(i))) {
		i--
	}
	for ; i < n.n && !s.to.less(n.key(i)); i++ {
		if !s.walk(n.child(i)) {
			return false
		}
	}
	return true
}
