package xfs

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

// maxAhead is how many records beyond a missing one are waited for. xlog has
// eight buffers in flight, so more than that means that one was lost.
const maxAhead = 32

// logRange is the log's place on its device.
func (x *xfs) logRange() (from, to uint64) {
	return uint64(x.ring.start), uint64(x.ring.start) + uint64(x.ring.blocks)*basicBlock
}

// inside is the log's place on the volume; empty when it is elsewhere.
func (x *xfs) inside() (from, to uint64) {
	if x.outside {
		return 0, 0
	}
	return x.logRange()
}

// unlogged yields the parts of [off, off+n) that are not log.
func (x *xfs) unlogged(off, n uint64, yield func(off, n uint64)) {
	from, to := x.inside()
	if off+n <= from || off >= to {
		yield(off, n)
		return
	}
	if off < from {
		yield(off, from-off)
	}
	if off+n > to {
		yield(to, off+n-to)
	}
}

// Prepare implements fs.Filesystem.
func (x *xfs) Prepare(w *fs.Write, s fs.Sink) {
	x.keep = x.keep[:0]
	x.unlogged(w.Off, w.Len, func(off, n uint64) {
		x.ledger.Owners(off, n, func(o blockmap.Owner) { s.Touch(o.ID) })
		var data []byte
		if w.Op == fs.OpWrite {
			data = w.Data[off-w.Off : off-w.Off+n]
		}
		x.inspect(off, n, data)
	})
}

// Apply implements fs.Filesystem.
func (x *xfs) Apply(w *fs.Write, s fs.Sink) {
	if from, to := x.inside(); w.Off < to && w.Off+w.Len > from {
		x.follow(w, s)
	}
	x.unlogged(w.Off, w.Len, func(off, n uint64) {
		x.ledger.Write(off, n, w, func(d fs.ID, r fs.Range) { x.batch.Wrote(d, r, w.Stamp, w.Stamp) })
		x.uncover(off, n)
	})
	x.tampered(w, s)
}

// Journal implements fs.Journaler.
func (x *xfs) Journal(w *fs.Write, s fs.Sink) {
	if from, to := x.logRange(); x.outside && w.Off < to && w.Off+w.Len > from {
		x.follow(w, s)
	}
}

// uncover lets [off, off+n) of the device show, but for what must be kept.
func (x *xfs) uncover(off, n uint64) {
	at := off
	for _, k := range x.keep {
		if k.Off < off || k.Off >= off+n {
			continue
		}
		x.view.drop(at, k.Off-at)
		at = k.Off + k.Len
	}
	if at < off+n {
		x.view.drop(at, off+n-at)
	}
}

// follow reads the log as far as it has become whole.
func (x *xfs) follow(w *fs.Write, s fs.Sink) {
	x.noteAhead(w)
	for used := uint32(0); x.next != 0 && used <= x.ring.blocks; used++ {
		r, err := x.ring.record(x.next)
		if err != nil {
			if !errors.Is(err, errNoRecord) && !fs.IsUnknown(err) {
				s.Problem(fs.Problem{Kind: problemKind(err), At: w.Stamp, Text: err.Error()})
			}
			break
		}
		done, err := x.trans.feed(r, w.Stamp)
		if err != nil {
			s.Problem(fs.Problem{Kind: fs.ProblemTorn, At: w.Stamp, Text: err.Error()})
		}
		for _, t := range done {
			x.commit(t, w.Stamp, s)
		}
		x.next = r.next
	}
	for l := range x.ahead {
		if l < x.next {
			delete(x.ahead, l)
		}
	}
	if len(x.ahead) > maxAhead || x.next == 0 && len(x.ahead) > 0 {
		x.skip(w, s)
	}
}

// noteAhead remembers records that arrive before the one that is due.
func (x *xfs) noteAhead(w *fs.Write) {
	if w.Op != fs.OpWrite {
		return
	}
	from, to := x.logRange()
	for off := max(w.Off, from); off+basicBlock <= min(w.Off+w.Len, to); off += basicBlock {
		b := w.Data[off-w.Off:]
		if be.Uint32(b) != logMagic || len(b) < logHeaderSize {
			continue
		}
		h, ok := x.ring.parseHeader(b)
		if ok && h.length > 0 && h.lsn > x.next && uint64(h.lsn.block())*basicBlock == off-from {
			x.ahead[h.lsn] = true
			return
		}
	}
}

// skip gives up on a record that never came and goes on with the next one there is.
func (x *xfs) skip(w *fs.Write, s fs.Sink) {
	to := LSN(^uint64(0))
	for l := range x.ahead {
		to = min(to, l)
	}
	lost := x.next
	x.next = to
	x.ahead = map[LSN]bool{}
	if lost == 0 {
		return
	}
	x.trans = newAssembler(x.trans.limit)
	at := uint64(x.ring.start) + uint64(lost.block())*basicBlock
	if x.outside {
		at = 0 // on this volume it is nowhere
	}
	s.Problem(fs.Problem{
		Kind: fs.ProblemUnknown, At: w.Stamp, Off: at,
		Text: fmt.Sprintf("log record %v never came: changes up to %v are missing until they are written in place", lost, to),
	})
}

// commit applies one transaction and tells what it changed.
func (x *xfs) commit(t *trans, at fs.Stamp, s fs.Sink) {
	for _, ino := range t.inodes() {
		d := id(ino)
		x.batch.Before(d)
		if st, ok := x.batch.Old(d); ok && st.Attr.Type == fs.TypeFile {
			s.Touch(d)
		}
	}
	p := &replayer{v: x.vol, w: x.view}
	err := p.apply(t)
	x.last = max(x.last, t.start)
	x.reload()
	tx := &fs.Tx{Number: uint64(t.start), Basis: fs.BasisCommit, Time: fs.NoTime}
	x.batch.At(t.first)
	x.batch.At(at)
	if err != nil {
		tx.Incomplete = err.Error()
		s.Problem(fs.Problem{Kind: problemKind(err), At: at, Tx: tx.Number, Text: err.Error()})
	}
	if x.build(x.batch, tx) || tx.Incomplete != "" {
		s.Commit(tx)
	}
}

// build fills in tx from a batch and reports whether there is anything in it.
func (x *xfs) build(b *delta.Batch, tx *fs.Tx) bool {
	any := b.Build(tx, func(c delta.Change) {
		x.ledger.Moved(c.ID, c.Old.Extents, c.New.Extents, func(r fs.Range, first, last fs.Stamp) { b.Wrote(c.ID, r, first, last) })
	})
	x.ledger.Release()
	return any
}

// Settle implements fs.Filesystem: file data needs no commit to be seen.
func (x *xfs) Settle(at fs.Stamp, s fs.Sink) {
	if x.batch.Empty() {
		return
	}
	tx := &fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime}
	if x.build(x.batch, tx) {
		s.Commit(tx)
	}
}
