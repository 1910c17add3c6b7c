package ext4

import (
	"cmp"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Tags of the fast commit area (fs/ext4/fast_commit.h).
const (
	fastAddRange = 1
	fastDelRange = 2
	fastCreate   = 3
	fastLink     = 4
	fastUnlink   = 5
	fastInode    = 6
	fastPad      = 7
	fastTail     = 8
	fastHead     = 9

	fastTagBase = 4 // le16 tag, le16 length
)

// fastState is what fast commits have said since the last full commit. Inodes
// go into the view at once. Directories and mappings do not: the log says what
// changed, not the blocks, which come with the next full commit.
type fastState struct {
	f       *FS
	tid     uint32
	applied int                 // operations of tid already taken in
	ranges  map[uint32][]remap  // by inode, in order
	was     map[uint32][]remap  // the same as before the transaction being compared
	names   map[direntKey]named // against what the directory blocks say
	// replays: as the kernel's recovery takes the log in, not as it was written
	replays bool
}

type named struct {
	n   int // 1 added, -1 removed
	typ fs.Type
}

// remap puts blocks at a place of a file, or takes them away.
type remap struct {
	run
	gone bool
}

// fastOp is one tag of the area.
type fastOp struct {
	tag  uint16
	body []byte
}

func newFastState(f *FS) *fastState {
	return &fastState{f: f, ranges: map[uint32][]remap{}, names: map[direntKey]named{}}
}

// scan reads the area's operations for transaction tid, as far as a tail with
// the right checksum vouches for them (ext4_fc_replay_scan).
func (q *fastState) scan(tid uint32) []fastOp {
	j := q.f.log
	var ops []fastOp
	valid, sum := 0, uint32(0)
	for n := j.length + 1; n < j.length+j.fastLen; n++ {
		b, err := j.block(n)
		if err != nil {
			break
		}
		for len(b) >= fastTagBase {
			tag, size := le.Uint16(b), int(le.Uint16(b[2:]))
			if fastTagBase+size > len(b) {
				return ops[:valid]
			}
			body := b[fastTagBase : fastTagBase+size]
			switch {
			case tag == fastTail && size >= 8:
				sum = crc32c(sum, b[:fastTagBase+4])
				if le.Uint32(body) != tid || le.Uint32(body[4:]) != sum {
					return ops[:valid]
				}
				valid, sum = len(ops), 0
			case tag == fastHead && size >= 8:
				if le.Uint32(body[4:]) != tid {
					return ops[:valid]
				}
				sum = crc32c(sum, b[:fastTagBase+size])
			case tag >= fastAddRange && tag <= fastPad:
				sum = crc32c(sum, b[:fastTagBase+size])
				if tag != fastPad {
					ops = append(ops, fastOp{tag, body})
				}
			default:
				return ops[:valid]
			}
			b = b[fastTagBase+size:]
		}
	}
	return ops[:valid]
}

// wrote sees a block of the area that has just been written.
func (q *fastState) wrote(_ uint32, at fs.Stamp, s fs.Sink) {
	j := q.f.log
	if !j.haveLast {
		return
	}
	ops := q.next(j.last + 1)
	if len(ops) == 0 {
		return
	}
	t := &txn{number: uint64(q.tid), basis: fs.BasisFastCommit, time: fs.NoTime, first: at, last: at}
	for _, o := range ops {
		if n, ok := o.content(); ok {
			q.f.touch(n, s)
		}
	}
	q.was = maps.Clone(q.ranges)
	before := fs.NewLayer(q.f.layer, q.f.blockSize)
	names := q.apply(ops, before, t)
	slices.Sort(t.blocks)
	t.blocks = slices.Compact(t.blocks)
	t.names = names
	q.f.diff(&view{super: q.f.super, dev: before, budget: newBudget(q.f.super), used: q.f.now.used}, t, s)
	q.was = nil
}

// next returns the operations of tid not yet taken in.
func (q *fastState) next(tid uint32) []fastOp {
	if q.tid != tid {
		q.tid, q.applied = tid, 0
	}
	ops := q.scan(tid)
	if len(ops) <= q.applied {
		return nil
	}
	fresh := ops[q.applied:]
	q.applied = len(ops)
	return fresh
}

// recover takes in what the area holds after the log was replayed up to tid.
func (q *fastState) recover(tid uint32) {
	if q.f.log.fastLen == 0 {
		return
	}
	q.replays = true
	defer func() { q.replays = false }()
	q.apply(q.next(tid), fs.NewLayer(q.f.layer, q.f.blockSize), &txn{})
}

// content reports the inode whose content an operation touches.
func (o fastOp) content() (uint32, bool) {
	if len(o.body) < 4 || o.tag != fastInode && o.tag != fastAddRange && o.tag != fastDelRange {
		return 0, false
	}
	return le.Uint32(o.body), true
}

// apply takes operations in. The inode table blocks it changes are kept in
// before and listed in t. It returns the net change of names.
func (q *fastState) apply(ops []fastOp, before *fs.Layer, t *txn) map[direntKey]named {
	net := map[direntKey]named{}
	for _, o := range ops {
		b := o.body
		switch {
		case o.tag == fastAddRange && len(b) >= 16:
			count, unwritten := uint64(le.Uint16(b[8:])), false
			if count > extentInitMax {
				count, unwritten = count-extentInitMax, true
			}
			start := uint64(le.Uint32(b[12:])) | uint64(le.Uint16(b[10:]))<<32
			if start+count <= q.f.blocks {
				q.remap(le.Uint32(b), remap{run: run{uint64(le.Uint32(b[4:])), start, count, unwritten}}, t)
			}
		case o.tag == fastDelRange && len(b) >= 12:
			q.remap(le.Uint32(b), remap{run: run{logical: uint64(le.Uint32(b[4:])), count: uint64(le.Uint32(b[8:]))}, gone: true}, t)
		case (o.tag == fastCreate || o.tag == fastLink || o.tag == fastUnlink) && len(b) > 8:
			q.name(o.tag, direntKey{parent: le.Uint32(b), child: le.Uint32(b[4:]), name: cString(b[8:])}, net)
		case o.tag == fastInode && len(b) >= 4+goodOldInode:
			q.inode(le.Uint32(b), b[4:], before, t)
		}
	}
	return net
}

func (q *fastState) remap(n uint32, r remap, t *txn) {
	if r.count == 0 || n == 0 || n > q.f.inodes {
		return
	}
	q.ranges[n] = append(slices.Clip(q.ranges[n]), r)
	t.inodes = append(t.inodes, n)
}

func (q *fastState) name(tag uint16, k direntKey, net map[direntKey]named) {
	step := 1
	if tag == fastUnlink {
		step = -1
	}
	// The kernel drops the creation of a file that is deleted before the commit
	// and keeps the deletion; replaying it finds nothing to delete.
	if present := q.f.now.names(k) != (q.names[k].n != 0); present == (step > 0) {
		return
	}
	typ := fs.TypeUnknown
	if i, err := q.f.now.inode(k.child); err == nil {
		typ = fs.TypeOfMode(i.mode)
	}
	for _, m := range []map[direntKey]named{q.names, net} {
		if v := (named{m[k].n + step, typ}); v.n != 0 {
			m[k] = v
		} else {
			delete(m, k)
		}
	}
}

// inode puts a slot in, all but i_block, which the ranges describe, unless
// i_block is content itself (ext4_fc_replay_inode).
func (q *fastState) inode(n uint32, raw []byte, before *fs.Layer, t *txn) {
	f := q.f
	off, err := f.now.offset(n)
	if err != nil {
		return
	}
	b := off / f.blockSize
	old, err := f.now.block(b)
	if err != nil {
		return
	}
	if !before.Has(b) {
		before.Put(b, old)
		t.blocks = append(t.blocks, b)
	}
	next := slices.Clone(old)
	slot := next[off%f.blockSize:][:f.inodeSize]
	size := min(len(raw), len(slot))
	keep := le.Uint32(raw[0x20:])&flagExtents != 0
	copy(slot[:0x28], raw)
	if !keep {
		copy(slot[0x28:0x64], raw[0x28:0x64])
	} else if le.Uint16(slot[0x28:]) != extentMagic {
		clear(slot[0x28:0x64])
		le.PutUint16(slot[0x28:], extentMagic)
		le.PutUint16(slot[0x2c:], 4)
	}
	if !q.replays && le.Uint32(slot[0x64:]) != le.Uint32(raw[0x64:]) {
		// The tag ends with the fixed fields. In memory a new inode has nothing behind
		// them; recovery leaves what its slot held before: the attributes of another file.
		clear(slot[size:])
	}
	copy(slot[0x64:size], raw[0x64:size])
	f.layer.Put(b, next)
	if f.now.used == nil {
		f.now.used = map[uint32]bool{}
	}
	f.now.used = maps.Clone(f.now.used)
	f.now.used[n] = le.Uint16(raw[0x1a:]) > 0
}

// links adds the names that directory blocks do not have yet.
func (q *fastState) links(v fs.Visitor) {
	if q == nil {
		return
	}
	keys := slices.SortedFunc(maps.Keys(q.names), compareKeys)
	for _, k := range keys {
		if q.names[k].n > 0 {
			v.Link(dirent(k.parent, entry{k.name, k.child, q.names[k].typ}))
		}
	}
}

// removed reports whether a directory block's name is no longer true.
func (q *fastState) removed(d fs.Dirent) bool {
	return q != nil && q.names[direntKey{uint32(d.Parent.Num), d.Name, uint32(d.Child.Num)}].n < 0
}

func (q *fastState) touches(n uint32) bool { return q != nil && len(q.ranges[n]) > 0 }

// mapping is an inode's mapping with the ranges of fast commits in it.
func (q *fastState) mapping(i *inode, m mapping) mapping {
	if q == nil {
		return m
	}
	return remapped(m, q.ranges[i.num])
}

// mappingBefore is the same before the transaction being compared.
func (q *fastState) mappingBefore(i *inode, m mapping) mapping {
	if q == nil || q.was == nil {
		return m
	}
	return remapped(m, q.was[i.num])
}

func remapped(m mapping, ops []remap) mapping {
	for _, r := range ops {
		var out []run
		for _, x := range m.runs {
			lo, hi := max(x.logical, r.logical), min(x.logical+x.count, r.logical+r.count)
			if lo >= hi {
				out = append(out, x)
				continue
			}
			if x.logical < lo {
				out = append(out, run{x.logical, x.physical, lo - x.logical, x.unwritten})
			}
			if end := x.logical + x.count; end > hi {
				out = append(out, run{hi, x.physical + hi - x.logical, end - hi, x.unwritten})
			}
		}
		if !r.gone {
			out = append(out, r.run)
		}
		slices.SortFunc(out, func(a, b run) int { return int(int64(a.logical) - int64(b.logical)) })
		m.runs = out
	}
	return m
}

// beforeFull readies for comparing a full commit: from now on the blocks say it
// all, before it they did with the fast commits' help. It returns the view of
// inodes in use as it was.
func (q *fastState) beforeFull(t *txn) map[uint32]bool {
	if q == nil {
		return nil
	}
	q.was = q.ranges
	used := q.f.now.used
	for n := range q.ranges {
		t.inodes = append(t.inodes, n)
	}
	slices.Sort(t.inodes)
	t.names = map[direntKey]named{}
	for k, v := range q.names {
		// A directory that a fast commit freed, its number perhaps another file's by
		// now, is not compared again: nothing accounts for the names it lost.
		if dir, err := q.f.now.inode(k.parent); v.n < 0 && (err != nil || !dir.isDir() || !q.f.now.live(&dir)) {
			continue
		}
		t.names[k] = named{-v.n, v.typ}
	}
	q.ranges, q.f.now.used = map[uint32][]remap{}, nil
	clear(q.names)
	q.tid, q.applied = 0, 0
	return used
}

func (q *fastState) afterFull() {
	if q != nil {
		q.was = nil
	}
}

func compareKeys(a, b direntKey) int {
	return cmp.Or(cmp.Compare(a.parent, b.parent), cmp.Compare(a.name, b.name), cmp.Compare(a.child, b.child))
}
