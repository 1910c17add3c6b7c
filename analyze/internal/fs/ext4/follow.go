package ext4

import (
	"bytes"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// dirt is content written to a file and not yet reported.
type dirt struct {
	ranges      []fs.Range
	first, last fs.Stamp
}

func (d *dirt) add(off, n uint64, at fs.Stamp) {
	if d.first == (fs.Stamp{}) {
		d.first = at
	}
	d.last = at
	if k := len(d.ranges); k > 0 && d.ranges[k-1].Off+d.ranges[k-1].Len == off {
		d.ranges[k-1].Len += n
		return
	}
	d.ranges = append(d.ranges, fs.Range{Off: off, Len: n})
	if len(d.ranges) > 4096 {
		d.ranges = fs.JoinRanges(d.ranges)
	}
}

// batchMeta is what is known of metadata written in place and not yet reported.
type batchMeta struct {
	blocks      []uint64
	wrote       map[uint64]uint64 // block to the record that wrote it last
	first, last fs.Stamp
}

func (f *FS) touch(n uint32, s fs.Sink) {
	if n == 0 || f.touched[n] || f.system(n) {
		return
	}
	f.touched[n] = true
	s.Touch(fs.ID{Num: uint64(n)})
}

// Prepare sees a write before it is stored.
func (f *FS) Prepare(w *fs.Write, s fs.Sink) {
	first, count := f.span(w)
	f.claims.each(first, count, func(b, n uint64, c claim, ok bool) {
		switch {
		case !ok || c.kind == kindJournal:
		case c.kind == kindData:
			f.touch(c.owner, s)
		default:
			for k := range n {
				f.prepareMeta(b+k, c.shift(k), w, s)
			}
		}
	})
}

// span is the blocks a write touches.
func (f *FS) span(w *fs.Write) (first, count uint64) {
	if w.Len == 0 || w.Off/f.blockSize >= f.blocks {
		return 0, 0
	}
	first = w.Off / f.blockSize
	last := min((w.Off+w.Len-1)/f.blockSize, f.blocks-1)
	return first, last - first + 1
}

// part is the piece of w that falls into block b: its bytes (nil when w carries
// none) and where it lies in the block.
func (f *FS) part(b uint64, w *fs.Write) (data []byte, from, to uint64) {
	start, end := b*f.blockSize, (b+1)*f.blockSize
	from, to = max(start, w.Off)-start, min(end, w.Off+w.Len)-start
	switch w.Op {
	case fs.OpWrite:
		data = w.Data[start+from-w.Off : start+to-w.Off]
	case fs.OpZero, fs.OpDiscard:
		data = make([]byte, to-from)
	}
	return data, from, to
}

// prepareMeta keeps what a metadata block holds before a write in place changes
// it. With a journal such a write must bring what was committed.
func (f *FS) prepareMeta(b uint64, c claim, w *fs.Write, s fs.Sink) {
	if f.batch != nil && f.batch.Has(b) {
		f.batched.wrote[b] = w.Seq
		return
	}
	data, from, to := f.part(b, w)
	old, err := f.now.block(b)
	if err == nil && data != nil && bytes.Equal(old[from:to], data) {
		return
	}
	if f.journaled() && (c.kind == kindFixed && b <= f.superBlock() || c.kind == kindSystem && f.log == nil) {
		return // the kernel updates the superblock in place
	}
	if f.batch == nil {
		f.batch = fs.NewLayer(f.layer, f.blockSize)
		f.batched = batchMeta{first: w.Stamp, wrote: map[uint64]uint64{}}
	}
	if err != nil {
		f.batch.Hide(b)
	} else {
		f.batch.Put(b, old)
		f.touchMeta(b, c, old, data, from, s)
	}
	f.batched.blocks = append(f.batched.blocks, b)
	f.batched.wrote[b] = w.Seq
}

// touchMeta announces the files whose inode or mapping the write changes.
func (f *FS) touchMeta(b uint64, c claim, old, data []byte, from uint64, s fs.Sink) {
	switch c.kind {
	case kindNode:
		f.touch(c.owner, s)
	case kindTable:
		if data == nil {
			return
		}
		next := append([]byte(nil), old...)
		copy(next[from:], data)
		f.eachSlot(b, c, old, next, func(n uint32, _, _ []byte) { f.touch(n, s) })
	}
}

// eachSlot visits the inodes of a table block that differ.
func (f *FS) eachSlot(b uint64, c claim, old, next []byte, do func(n uint32, old, next []byte)) {
	per := f.blockSize / f.inodeSize
	first := uint64(c.owner)*f.inodesPerGroup + uint64(c.index)*per
	for k := range per {
		if uint64(c.index)*per+k >= f.inodesPerGroup {
			return
		}
		o, n := old[k*f.inodeSize:(k+1)*f.inodeSize], next[k*f.inodeSize:(k+1)*f.inodeSize]
		if num := first + k + 1; num <= uint64(f.inodes) && !bytes.Equal(o, n) {
			do(uint32(num), o, n)
		}
	}
}

// Apply sees a write after it is stored.
func (f *FS) Apply(w *fs.Write, s fs.Sink) {
	first, count := f.span(w)
	var logged []uint64
	f.claims.each(first, count, func(b, n uint64, c claim, ok bool) {
		switch {
		case !ok:
			f.settleLayer(b, n, w)
			f.pending.set(b, n, pend{f.stamps.add(w.Stamp), f.stamps.add(w.Stamp)})
		case c.kind == kindJournal:
			for k := range n {
				logged = append(logged, b+k)
			}
		case c.kind == kindData:
			f.applyData(b, n, c, w)
		default:
			f.settleLayer(b, n, w)
		}
	})
	for _, b := range logged {
		f.logWrite(b, w, s)
	}
	if f.batch != nil {
		f.batched.last = w.Stamp
		if f.journaled() {
			f.tampered(s)
		}
	}
	if w.Off < superOffset+superSize && w.Off+w.Len > superOffset {
		f.refreshSuper()
	}
}

// settleLayer lets the device show again where the write in place has arrived.
func (f *FS) settleLayer(b, n uint64, w *fs.Write) {
	if f.layer.Len() == 0 {
		return
	}
	for k := b; k < b+n; k++ {
		if f.layer.Has(k) {
			if _, from, to := f.part(k, w); to-from == f.blockSize {
				f.layer.Drop(k)
			}
		}
	}
}

// applyData notes content written to blocks a file owns. With data=journal the
// same bytes arrive twice: the second time they are a checkpoint.
func (f *FS) applyData(b, n uint64, c claim, w *fs.Write) {
	for k := range n {
		if committed := f.layer.Get(b + k); committed != nil {
			data, from, to := f.part(b+k, w)
			if data != nil && bytes.Equal(committed[from:to], data) {
				if to-from == f.blockSize {
					f.layer.Drop(b + k)
				}
				continue
			}
			f.layer.Drop(b + k)
		}
		f.mark(c.owner, c.index+uint32(k), b+k, w)
	}
}

func (f *FS) mark(owner, index uint32, b uint64, w *fs.Write) {
	d := f.dirty[owner]
	if d == nil {
		d = &dirt{}
		f.dirty[owner] = d
	}
	start, end := b*f.blockSize, (b+1)*f.blockSize
	from, to := max(start, w.Off)-start, min(end, w.Off+w.Len)-start
	d.add(uint64(index)*f.blockSize+from, to-from, w.Stamp)
}

// flushBatch turns metadata written in place into a transaction.
func (f *FS) flushBatch(s fs.Sink) *fs.Tx {
	if f.batch == nil {
		return nil
	}
	old := &view{super: f.super, dev: f.batch, budget: newBudget(f.super)}
	t := &txn{basis: fs.BasisWrite, time: fs.NoTime, first: f.batched.first, last: f.batched.last, blocks: f.batched.blocks, wrote: f.batched.wrote}
	f.batch, f.batched = nil, batchMeta{}
	return f.diff(old, t, s)
}

// refreshSuper follows changes of the superblock that matter while following:
// mounted or not, features switched on, the filesystem grown.
func (f *FS) refreshSuper() {
	s, err := readSuper(f.layer)
	if err != nil || s.uuid != f.uuid || s.blockSize != f.blockSize || s.inodesPerGroup != f.inodesPerGroup {
		return // another filesystem: the engine probes the volume again
	}
	s.unlogged = f.unlogged
	*f.super = *s
}

// Settle reports what was written in place when there is no journal, and content
// still unreported at the end of the tape.
func (f *FS) Settle(at fs.Stamp, s fs.Sink) {
	if f.journaled() && at.Time != fs.EndOfTape {
		return
	}
	if f.flushBatch(s) != nil {
		return
	}
	if len(f.dirty) > 0 {
		t := &txn{basis: fs.BasisWrite, time: fs.NoTime}
		f.diff(f.now, t, s)
	}
}
