package ext4

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// note records a descriptor or revoke block, replacing what its place held.
func (j *journal) note(at uint32, c controlBlock) {
	j.forget(at)
	j.control[at] = c
	j.bySeq[c.seq] = append(j.bySeq[c.seq], at)
}

func (j *journal) forget(at uint32) {
	old, ok := j.control[at]
	if !ok {
		return
	}
	delete(j.control, at)
	left := slices.DeleteFunc(j.bySeq[old.seq], func(n uint32) bool { return n == at })
	if len(left) == 0 {
		delete(j.bySeq, old.seq)
	} else {
		j.bySeq[old.seq] = left
	}
}

// Journal implements fs.Journaler: a write to the device that holds the log.
func (f *FS) Journal(w *fs.Write, s fs.Sink) {
	if f.log == nil || !f.log.external || w.Len == 0 {
		return
	}
	for b := w.Off / f.blockSize; b <= (w.Off+w.Len-1)/f.blockSize; b++ {
		f.logWrite(b, w, s)
	}
}

// logWrite sees a block of the log that has just been written.
func (f *FS) logWrite(p uint64, w *fs.Write, s fs.Sink) {
	j := f.log
	if j == nil {
		return
	}
	at, ok := j.logical(p)
	if !ok {
		return
	}
	data, from, to := f.part(p, w)
	if from != 0 || to < jbdHeader || data == nil {
		j.forget(at)
		return
	}
	if j.fastLen > 0 && at > j.length {
		f.fast.wrote(at, w.Stamp, s)
		return
	}
	j.forget(at)
	if be.Uint32(data) != jbd2Magic {
		return
	}
	kind, seq := be.Uint32(data[4:]), be.Uint32(data[8:])
	switch {
	case at == j.super:
		f.journalSuper()
	case kind == jbdDescriptor || kind == jbdRevoke:
		j.note(at, controlBlock{kind, seq, w.Stamp})
	case kind == jbdCommit:
		f.commit(at, seq, w.Stamp, s)
	}
}

// journalSuper follows the journal superblock: features appear at mount, and an
// empty log may continue anywhere.
func (f *FS) journalSuper() {
	j := *f.log
	if err := j.readSuper(); err != nil {
		return
	}
	if j.start == 0 {
		j.lastAt = 0
	}
	*f.log = j
}

// txn is a transaction on its way into the view.
type txn struct {
	number      uint64
	basis       fs.Basis
	time        int64
	first, last fs.Stamp
	incomplete  string
	blocks      []uint64          // of the filesystem, whose content changed
	wrote       map[uint64]uint64 // no journal: block to the record that wrote it last
	inodes      []uint32          // changed by other means than their blocks
	// names that fast commits add (or, with a full commit, that they had added
	// and the blocks now must account for)
	names map[direntKey]named
}

// commit applies transaction seq, whose commit block has arrived at log block at.
func (f *FS) commit(at, seq uint32, stamp fs.Stamp, s fs.Sink) {
	j := f.log
	raw, err := j.block(at)
	if err != nil || !j.commitOK(raw) {
		s.Problem(fs.Problem{Kind: fs.ProblemTorn, At: stamp, Tx: uint64(seq), Text: fmt.Sprintf("transaction %d: commit block unreadable or wrong checksum: not applied", seq)})
		return
	}
	if j.haveLast && int32(seq-j.last) <= 0 {
		return // an old transaction's block written again
	}
	t := &txn{number: uint64(seq), basis: fs.BasisCommit, time: commitTime(raw), first: stamp, last: stamp}
	copies, torn := f.gather(t, seq, at)
	for _, p := range torn {
		p.At, p.Tx = stamp, uint64(seq)
		s.Problem(p)
	}
	j.last, j.lastAt, j.haveLast = seq, at, true
	for n := range j.bySeq {
		if int32(n-seq) <= 0 {
			for _, b := range slices.Clone(j.bySeq[n]) {
				j.forget(b)
			}
		}
	}
	f.applyCopies(t, copies, s)
}

// gather reads the copies of a transaction from the log.
func (f *FS) gather(t *txn, seq, end uint32) (copies map[uint64][]byte, torn []fs.Problem) {
	j := f.log
	copies = map[uint64][]byte{}
	used := uint32(1)
	controls := slices.Clone(j.bySeq[seq])
	slices.SortFunc(controls, func(a, b uint32) int { return int(j.distance(a, end)) - int(j.distance(b, end)) })
	slices.Reverse(controls) // farthest from the commit first: log order
	for _, at := range controls {
		c := j.control[at]
		if c.at.Seq != 0 && (c.at.Seq < t.first.Seq) {
			t.first = c.at
		}
		used++
		if c.kind != jbdDescriptor {
			continue
		}
		raw, err := j.block(at)
		if err != nil || !j.tailOK(raw) {
			torn = append(torn, fs.Problem{Kind: fs.ProblemTorn, Text: fmt.Sprintf("transaction %d: descriptor at log block %d unreadable or wrong checksum", seq, at)})
			continue
		}
		for _, tg := range j.tags(raw) {
			at = j.next(at)
			used++
			b, err := j.copyOf(at, tg, seq)
			switch {
			case err != nil:
				p := problemOf(fmt.Errorf("transaction %d: %w", seq, err), 0)
				p.Kind = fs.ProblemTorn
				torn = append(torn, p)
			case tg.target < f.blocks:
				copies[tg.target] = b
			}
		}
	}
	if len(torn) > 0 {
		t.incomplete = fmt.Sprintf("%d of its blocks could not be read from the log", len(torn))
	} else if j.lastAt != 0 && seq == j.last+1 {
		if want := j.distance(j.lastAt, end); want != used {
			t.incomplete = fmt.Sprintf("%d log blocks seen, %d expected", used, want)
		}
	}
	return copies, torn
}

// distance is how many log blocks lie from a (exclusive) to b (inclusive).
func (j *journal) distance(a, b uint32) uint32 {
	if b >= a {
		return b - a
	}
	return b - j.first + j.length - a
}

// applyCopies announces the files about to change, then lets the view show the
// new blocks and reports the difference.
func (f *FS) applyCopies(t *txn, copies map[uint64][]byte, s fs.Sink) {
	for b := range copies {
		t.blocks = append(t.blocks, b)
	}
	slices.Sort(t.blocks)
	before := fs.NewLayer(f.layer, f.blockSize)
	for _, b := range t.blocks {
		old, err := f.now.block(b)
		if err != nil {
			before.Hide(b)
			continue
		}
		before.Put(b, old)
		c, ok := f.claims.get(b)
		switch {
		case !ok:
		case c.kind == kindData:
			f.touch(c.owner, s)
		default:
			f.touchMeta(b, c, old, copies[b], 0, s)
		}
	}
	used := f.fast.beforeFull(t)
	for _, b := range t.blocks {
		f.layer.Put(b, copies[b])
		f.loggedData(b, t)
	}
	f.diff(&view{super: f.super, dev: before, budget: newBudget(f.super), used: used}, t, s)
	f.fast.afterFull()
}

// loggedData: with data=journal a copy in the log is the content itself.
func (f *FS) loggedData(b uint64, t *txn) {
	c, ok := f.claims.get(b)
	w := &fs.Write{Stamp: t.last, Off: b * f.blockSize, Len: f.blockSize}
	switch {
	case !ok:
		f.pending.set(b, 1, pend{f.stamps.add(t.last), f.stamps.add(t.last)})
	case c.kind == kindData:
		f.mark(c.owner, c.index, b, w)
	}
}
