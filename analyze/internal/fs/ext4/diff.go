package ext4

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// change is an inode that a transaction may have changed.
type change struct {
	num              uint32
	old, new         inode
	oldLive, newLive bool
	oldUnknown       bool
	oldMap, newMap   mapping
	wrote            uint64          // no journal: the record that wrote its slot; 0 for none
	lost             map[uint64]bool // of a directory: blocks it maps that are another's since
}

// differ compares the volume before and after a transaction.
type differ struct {
	f        *FS
	old      *view
	t        *txn
	changes  map[uint32]*change
	dirs     map[uint64]claim // directory blocks among the transaction's
	removed  map[direntKey]entryCount
	added    map[direntKey]entryCount
	data     map[uint32]*dirt
	problems []fs.Problem
	unseen   map[uint64]bool  // attribute blocks that were not there before
	taken    map[uint64]claim // directory blocks that other inodes came to claim
}

type direntKey struct {
	parent uint32
	name   string
	child  uint32
}

type entryCount struct {
	n   int
	typ fs.Type
}

// diff reports what t changed to the sink and returns it; nil when nothing did.
func (f *FS) diff(old *view, t *txn, s fs.Sink) *fs.Tx {
	f.now.budget = newBudget(f.super)
	d := &differ{f: f, old: old, t: t, changes: map[uint32]*change{}, dirs: map[uint64]claim{},
		removed: map[direntKey]entryCount{}, added: map[direntKey]entryCount{}, data: map[uint32]*dirt{}}
	d.unseen = maps.Clone(f.unseen)
	d.sort()
	nums := d.order()
	for _, n := range nums {
		d.load(d.changes[n])
	}
	for _, n := range nums {
		d.losses(d.changes[n])
	}
	for _, n := range nums {
		d.release(d.changes[n])
	}
	for _, c := range d.claimOrder(nums) {
		d.claim(c)
	}
	for _, n := range nums {
		d.directory(d.changes[n])
	}
	d.touchedDirs()
	d.takenDirs()
	d.freed()
	tx := d.report(nums)
	for _, p := range d.problems {
		if !f.journaled() && p.Kind == fs.ProblemCorrupt {
			continue // without a journal what an inode points to may arrive after it
		}
		p.At, p.Tx = t.last, t.number
		s.Problem(p)
	}
	clear(f.touched)
	if len(tx.Inodes) == 0 && len(tx.Removed) == 0 && len(tx.Added) == 0 && len(tx.Data) == 0 && tx.Incomplete == "" {
		return nil
	}
	s.Commit(tx)
	return tx
}

// sort files the transaction's blocks by what they were.
func (d *differ) sort() {
	f := d.f
	for _, b := range d.t.blocks {
		c, ok := f.claims.get(b)
		if !ok {
			continue
		}
		switch c.kind {
		case kindTable:
			d.table(b, c)
		case kindNode, kindXattr:
			d.candidate(c.owner)
			delete(f.unseen, b)
		case kindDir:
			d.dirs[b] = c
		}
	}
	for _, n := range d.t.inodes {
		d.candidate(n)
	}
	for k, v := range d.t.names {
		into := d.added
		if v.n < 0 {
			into = d.removed
		}
		into[k] = entryCount{into[k].n + max(v.n, -v.n), v.typ}
	}
}

func (d *differ) candidate(n uint32) *change {
	c := d.changes[n]
	if c == nil && n != 0 && n <= d.f.inodes && !(n == d.f.journalInum && d.f.journaled()) {
		c = &change{num: n}
		d.changes[n] = c
	}
	return c
}

// table finds the inodes of a table block that changed.
func (d *differ) table(b uint64, c claim) {
	next, err := d.f.now.block(b)
	if err != nil {
		d.problems = append(d.problems, problemOf(err, 0))
		return
	}
	old, err := d.old.block(b)
	unknown := err != nil
	if unknown {
		old = make([]byte, len(next)) // what differs from nothing is all we can name
	}
	d.f.eachSlot(b, c, old, next, func(n uint32, _, _ []byte) {
		if ch := d.candidate(n); ch != nil {
			ch.oldUnknown, ch.wrote = unknown, d.t.wrote[b]
		}
	})
}

func (d *differ) order() []uint32 {
	nums := make([]uint32, 0, len(d.changes))
	for n := range d.changes {
		nums = append(nums, n)
	}
	slices.Sort(nums)
	return nums
}

// claimOrder is the order in which inodes take their blocks. In a transaction
// none contradicts another. Without a journal, slots and mapping blocks arrive
// one by one, and an inode may still map what it has lost: the slot written last
// is right, and an inode whose slot was not written is believed least.
func (d *differ) claimOrder(nums []uint32) []*change {
	out := make([]*change, len(nums))
	for k, n := range nums {
		out[k] = d.changes[n]
	}
	if !d.f.journaled() {
		slices.SortStableFunc(out, func(a, b *change) int { return cmp.Compare(a.wrote, b.wrote) })
	}
	return out
}

// load reads both states of an inode.
func (d *differ) load(c *change) {
	var err error
	if c.old, err = d.old.inode(c.num); err != nil {
		c.old, c.oldUnknown = inode{num: c.num}, true
	} else if c.oldLive = d.old.live(&c.old); c.oldLive {
		c.oldMap = d.f.fast.mappingBefore(&c.old, d.old.mapping(&c.old))
	}
	if c.new, err = d.f.now.inode(c.num); err != nil {
		d.problems = append(d.problems, problemOf(err, c.num))
		c.new = inode{num: c.num}
		return
	}
	if c.newLive = d.f.now.live(&c.new); c.newLive {
		c.newMap = d.f.mappingOf(&c.new)
		if c.newMap.err != nil {
			d.problems = append(d.problems, problemOf(fmt.Errorf("inode %d: %w", c.num, c.newMap.err), c.num))
		}
	}
}

// common is how many leading runs did not change.
func (c *change) common() int {
	k := 0
	for k < len(c.oldMap.runs) && k < len(c.newMap.runs) && c.oldMap.runs[k] == c.newMap.runs[k] {
		k++
	}
	return k
}

// remapped reports whether blocks or their owner's role changed.
func (c *change) remapped() bool {
	return c.oldLive != c.newLive || c.old.mode&0xf000 != c.new.mode&0xf000 || !c.oldMap.equal(&c.newMap)
}

func (d *differ) release(c *change) {
	if c.oldLive && c.old.acl != 0 && (!c.newLive || c.new.acl != c.old.acl) {
		d.f.releaseRun(c.num, c.old.acl, 1)
	}
	if !c.remapped() {
		return
	}
	keep := 0
	if c.newLive && c.old.mode&0xf000 == c.new.mode&0xf000 {
		keep = c.common()
	}
	d.f.release(c.num, &mapping{runs: c.oldMap.runs[keep:], nodes: c.oldMap.nodes})
}

// claim takes the new blocks and gives the inode what was written to them
// before anyone owned them.
func (d *differ) claim(c *change) {
	if !c.newLive {
		return
	}
	f := d.f
	d.watchXattr(c)
	f.claimXattr(&c.new)
	if !c.remapped() {
		return
	}
	keep := 0
	if c.oldLive && c.old.mode&0xf000 == c.new.mode&0xf000 {
		keep = c.common()
	}
	m := mapping{runs: c.newMap.runs[keep:], nodes: c.newMap.nodes}
	if !f.journaled() && c.wrote == 0 {
		m = f.unclaimed(&c.new, &m)
	}
	d.take(c, &m)
	f.claimInode(&c.new, &m)
	for _, r := range c.newMap.runs[keep:] {
		d.adopt(c, r)
	}
	for _, b := range c.newMap.nodes {
		f.pending.clear(b, 1)
	}
}

// unclaimed is the part of m that no other inode claims. A block taken for
// mapping may have been freed and hold something else by now: what it then seems
// to say must not take blocks from those who own them.
func (f *FS) unclaimed(i *inode, m *mapping) mapping {
	n := i.num
	var out mapping
	for _, r := range m.runs {
		f.claims.each(r.physical, r.count, func(b, k uint64, c claim, ok bool) {
			if !ok || c.owner == n {
				out.runs = append(out.runs, run{logical: r.logical + b - r.physical, physical: b, count: k, unwritten: r.unwritten})
			} else if i.isDir() && c.kind == kindDir {
				for j := range k {
					f.wanted[b+j] = claim{owner: n, index: uint32(r.logical + b + j - r.physical), kind: kindDir}
				}
			}
		})
	}
	for _, b := range m.nodes {
		if c, ok := f.claims.get(b); !ok || c.owner == n {
			out.nodes = append(out.nodes, b)
		}
	}
	return out
}

func (d *differ) adopt(c *change, r run) {
	f := d.f
	if len(f.pending.buckets) == 0 {
		return
	}
	found := false
	f.pending.each(r.physical, r.count, func(b, n uint64, p pend, ok bool) {
		if !ok {
			return
		}
		found = true
		if f.contentKind(&c.new) != kindData {
			return
		}
		x := d.data[c.num]
		if x == nil {
			x = &dirt{}
			d.data[c.num] = x
		}
		off := (r.logical + b - r.physical) * f.blockSize
		x.note(off, n*f.blockSize, f.stamps.list[p.first], f.stamps.list[p.last])
	})
	if found {
		f.pending.clear(r.physical, r.count)
	}
}

// note adds content written between two stamps.
func (d *dirt) note(off, n uint64, first, last fs.Stamp) {
	if d.first == (fs.Stamp{}) || first.Seq < d.first.Seq {
		d.first = first
	}
	if last.Seq > d.last.Seq {
		d.last = last
	}
	d.ranges = append(d.ranges, fs.Range{Off: off, Len: n})
}

// freed forgets the type of mapping and attribute blocks that the block bitmap
// says are free: left standing, the type would hide the content written when the
// block is reused. Committed copies of freed blocks will not be checkpointed.
func (d *differ) freed() {
	f := d.f
	for _, b := range d.t.blocks {
		c, ok := f.claims.get(b)
		if !ok || c.kind != kindBlockBM {
			continue
		}
		old, err1 := d.old.block(b)
		next, err2 := f.now.block(b)
		if err1 != nil || err2 != nil || bytes.Equal(old, next) {
			continue
		}
		base := f.firstBlock + uint64(c.owner)*f.blocksPerGroup
		for k := range old {
			for gone := old[k] &^ next[k]; gone != 0; gone &= gone - 1 {
				bit := uint64(k)*8 + uint64(trailing(gone))
				f.freeCluster(base + bit*f.clusterSize)
			}
		}
	}
}

func trailing(b byte) int {
	n := 0
	for b&1 == 0 {
		b >>= 1
		n++
	}
	return n
}

func (f *FS) freeCluster(start uint64) {
	for b := start; b < start+f.clusterSize && b < f.blocks; b++ {
		c, ok := f.claims.get(b)
		if ok && (c.kind == kindXattr || c.kind == kindNode) {
			f.claims.clear(b, 1)
			ok = false
		}
		if !ok {
			f.layer.Drop(b)
		}
	}
}
