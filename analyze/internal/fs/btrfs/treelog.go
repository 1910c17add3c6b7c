package btrfs

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// logInode is what a log tree says of one inode.
type logInode struct {
	item    []byte // of the inode itself; nil when only names refer to it
	xattrs  []fs.Xattr
	extents []extent
	names   []indexed // directory entries
	ranges  []span    // of directory indexes that the log states completely
	refs    []ref     // names of the inode
}

type span struct{ from, to uint64 }

// ref is one name of an inode, from its back references.
type ref struct {
	parent, index uint64
	name          string
}

// replayLog lays the log tree over the trees, as a mount after a crash would
// (btrfs_recover_log_trees). Attributes of parents that the log does not hold,
// sizes apart, stay as committed; the next commit brings them.
func (v *Volume) replayLog() error {
	v.logged = nil
	if v.sb.log.addr == 0 {
		return nil
	}
	v.logged = map[fs.ID]loggedInode{}
	roots := map[uint64]root{}
	err := v.scan(v.sb.log, key{obj: objTreeLog, typ: typeRoot}, key{objTreeLog, typeRoot, allOnes}, func(k key, b []byte) bool {
		if len(b) >= 239 && b[238] < maxLevel {
			roots[k.off] = root{addr: le.Uint64(b[176:]), gen: le.Uint64(b[160:]), level: b[238]}
		}
		return true
	})
	ids := make([]uint64, 0, len(roots))
	for id := range roots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if e := v.replayTree(id, roots[id]); e != nil && err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("tree log: %w", err)
	}
	return nil
}

// replayTree replays the log of one subvolume.
func (v *Volume) replayTree(space uint64, r root) error {
	t := treeLog{v: v, space: space, inodes: map[uint64]*logInode{}}
	err := v.scan(r, key{}, key{allOnes, 255, allOnes}, func(k key, b []byte) bool {
		t.item(k, b)
		return true
	})
	if err == nil {
		err = t.err
	}
	nums := make([]uint64, 0, len(t.inodes))
	for n, l := range t.inodes {
		if len(l.item) >= 44 && le.Uint32(l.item[40:]) == 0 {
			// It was logged while open without a name. The kernel takes nothing of it, so
			// that no orphan is left (replay_one_buffer, fs/btrfs/tree-log.c).
			delete(t.inodes, n)
			continue
		}
		nums = append(nums, n)
	}
	slices.Sort(nums)
	for _, n := range nums {
		t.overwrite(n)
	}
	for _, n := range nums {
		t.entries(n)
	}
	for _, n := range nums {
		t.link(n)
	}
	for _, l := range v.logged {
		l.finish(v)
		if l.attr.Type == fs.TypeDir {
			// A directory's size is kept by its entries, each twice: once by hash.
			l.attr.Size = 0
			for _, d := range l.names {
				l.attr.Size += 2 * uint64(len(d.Name))
			}
		}
	}
	return err
}

type treeLog struct {
	v      *Volume
	space  uint64
	inodes map[uint64]*logInode
	err    error
}

func (t *treeLog) fail(err error) {
	if err != nil && t.err == nil {
		t.err = err
	}
}

func (t *treeLog) id(n uint64) fs.ID { return fs.ID{Space: t.space, Num: n} }

func (t *treeLog) item(k key, b []byte) {
	if k.obj < objFirstFree || k.obj > objLastFree {
		return
	}
	i := t.inodes[k.obj]
	if i == nil {
		i = &logInode{}
		t.inodes[k.obj] = i
	}
	var err error
	switch k.typ {
	case typeInode:
		i.item = b
	case typeXattr:
		i.xattrs, err = parseXattrs(t.id(k.obj), b, i.xattrs)
	case typeExtent:
		var e extent
		if e, err = parseExtent(t.id(k.obj), k.off, b); err == nil {
			i.extents = append(i.extents, e)
		}
	case typeDirIndex:
		var d fs.Dirent
		if d, err = parseDirIndex(t.id(k.obj), b); err == nil {
			i.names = append(i.names, indexed{k.off, d})
		}
	case typeDirLogIdx:
		if len(b) >= 8 {
			i.ranges = append(i.ranges, span{k.off, le.Uint64(b)})
		}
	case typeInodeRef, typeInodeXRef:
		i.refs, err = parseRefs(k, b, i.refs)
	}
	t.fail(err)
}

// parseRefs decodes struct btrfs_inode_ref and btrfs_inode_extref items.
func parseRefs(k key, b []byte, out []ref) ([]ref, error) {
	for len(b) > 0 {
		head := 10
		if k.typ == typeInodeXRef {
			head = 18
		}
		if len(b) < head {
			return out, fmt.Errorf("inode %d: name reference of %d bytes: %w", k.obj, len(b), fs.ErrCorrupt)
		}
		r := ref{parent: k.off, index: le.Uint64(b[head-10:])}
		if k.typ == typeInodeXRef {
			r.parent = le.Uint64(b)
		}
		n := int(le.Uint16(b[head-2:]))
		if n == 0 || head+n > len(b) {
			return out, fmt.Errorf("inode %d: name reference of %d bytes: %w", k.obj, n, fs.ErrCorrupt)
		}
		r.name = string(b[head : head+n])
		out = append(out, r)
		b = b[head+n:]
	}
	return out, nil
}

// get returns the inode as replayed so far, starting from what is committed.
func (t *treeLog) get(n uint64) *inode {
	id := t.id(n)
	if l, ok := t.v.logged[id]; ok {
		return l.inode
	}
	i := t.v.committed(id)
	t.v.logged[id] = loggedInode{i}
	return i
}

// overwrite replays the inode item, its extents and its attributes, and deletes
// the directory entries that the log knows to be gone.
func (t *treeLog) overwrite(n uint64) {
	l := t.inodes[n]
	if l.item == nil {
		return
	}
	i := t.get(n)
	was := i.attr
	a, err := parseInode(t.id(n), l.item)
	if err != nil {
		t.fail(err)
		return
	}
	if a.Generation == 0 {
		// Only the existence was logged: the size is not to be taken.
		a.Generation = was.Generation
		if was.Live {
			a.Size = was.Size
		} else {
			a.Generation = t.v.sb.Generation + 1
		}
	}
	i.attr = a
	i.xattrs = l.xattrs
	if a.Type == fs.TypeDir {
		i.names = slices.DeleteFunc(i.names, func(d indexed) bool { return l.covers(d.index) && !l.has(d) })
		return
	}
	if l.extents != nil || a.Size < was.Size {
		i.extents = replaceExtents(i.extents, l.extents, a.Size, uint64(t.v.sb.SectorSize))
	}
}

// covers reports whether the log states all entries around index.
func (l *logInode) covers(index uint64) bool {
	return slices.ContainsFunc(l.ranges, func(s span) bool { return s.from <= index && index <= s.to })
}

func (l *logInode) has(d indexed) bool {
	return slices.ContainsFunc(l.names, func(e indexed) bool { return e.index == d.index && e.Name == d.Name && e.Child == d.Child })
}

// replaceExtents cuts what the log states anew, and what lies beyond the end of
// the file, out of the old mapping.
func replaceExtents(old, log []extent, size, sector uint64) []extent {
	end := (size + sector - 1) / sector * sector
	out := cut(old, end, ^uint64(0))
	for _, e := range log {
		out = cut(out, e.logical, e.logical+e.length)
	}
	for _, e := range log {
		if e.kind == kindInline || e.disk != 0 {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b extent) int {
		if a.logical < b.logical {
			return -1
		}
		if a.logical > b.logical {
			return 1
		}
		return 0
	})
	return out
}

// cut removes [from, to) of a file from its extents.
func cut(es []extent, from, to uint64) []extent {
	var out []extent
	for _, e := range es {
		end := e.logical + e.length
		if end <= from || e.logical >= to {
			out = append(out, e)
			continue
		}
		if e.kind == kindInline {
			continue // whole or not at all
		}
		if e.logical < from {
			h := e
			h.length = from - e.logical
			out = append(out, h)
		}
		if end > to {
			h := e
			h.skip += to - e.logical
			h.logical, h.length = to, end-to
			out = append(out, h)
		}
	}
	return out
}

// entries adds the directory entries that the log states.
func (t *treeLog) entries(n uint64) {
	l := t.inodes[n]
	if len(l.names) == 0 {
		return
	}
	dir := t.get(n)
	for _, d := range l.names {
		if t.exists(d.Child) {
			dir.put(d)
		}
	}
}

// exists reports whether the child of a logged entry is there after the replay:
// an entry whose inode was not logged must not be added.
func (t *treeLog) exists(id fs.ID) bool {
	if l, ok := t.v.logged[id]; ok {
		return l.attr.Live
	}
	return id.Space != t.space || t.v.committed(id).attr.Live
}

// put adds an entry, in place of one of the same name.
func (i *inode) put(d indexed) {
	i.names = slices.DeleteFunc(i.names, func(e indexed) bool { return e.Name == d.Name })
	i.names = append(i.names, d)
}

// link replays the back references of an inode: they are all of its names in
// each parent mentioned.
func (t *treeLog) link(n uint64) {
	l := t.inodes[n]
	if len(l.refs) == 0 || !t.get(n).attr.Live {
		return
	}
	child := t.id(n)
	typ := t.get(n).attr.Type
	mine := func(parent uint64, name string) bool {
		return slices.ContainsFunc(l.refs, func(r ref) bool { return r.parent == parent && r.name == name })
	}
	for _, r := range l.refs {
		if _, logged := t.inodes[r.parent]; !logged && !t.v.committed(t.id(r.parent)).attr.Live {
			continue
		}
		dir := t.get(r.parent)
		dir.names = slices.DeleteFunc(dir.names, func(d indexed) bool { return d.Child == child && !mine(r.parent, d.Name) })
		dir.put(indexed{r.index, fs.Dirent{Parent: t.id(r.parent), Name: r.name, Child: child, Type: typ}})
	}
	t.unlinkMoved(child, l.refs)
}

// unlinkMoved removes the committed names of an inode in parents that its logged
// references no longer mention: it was moved away from there.
func (t *treeLog) unlinkMoved(child fs.ID, refs []ref) {
	tree := t.v.trees[t.space]
	var old []ref
	t.fail(t.v.scan(tree.root, key{obj: child.Num, typ: typeInodeRef}, key{child.Num, typeInodeXRef, allOnes}, func(k key, b []byte) bool {
		var err error
		old, err = parseRefs(k, b, old)
		t.fail(err)
		return true
	}))
	for _, o := range old {
		if slices.ContainsFunc(refs, func(r ref) bool { return r.parent == o.parent }) {
			continue
		}
		// Links count decides: with as many names left as links, the old one went.
		if int(t.get(child.Num).attr.Links) > len(refs) {
			continue
		}
		dir := t.get(o.parent)
		dir.names = slices.DeleteFunc(dir.names, func(d indexed) bool { return d.Child == child && d.Name == o.name })
	}
}
