package btrfs

import (
	"maps"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/blockmap"
	"github.com/xentape/xentape/analyze/internal/fs/delta"
)

func sorted[V any](m map[fs.ID]V) []fs.ID {
	return slices.SortedFunc(maps.Keys(m), fs.ID.Compare)
}

// Prepare implements fs.Filesystem.
func (b *btrfs) Prepare(w *fs.Write, s fs.Sink) {
	b.ledger.Owners(w.Off, w.Len, func(o blockmap.Owner) { s.Touch(o.ID) })
}

// Apply implements fs.Filesystem.
func (b *btrfs) Apply(w *fs.Write, s fs.Sink) {
	b.cache.clear()
	if w.Off <= superOffset && w.Off+w.Len >= superOffset+superSize && w.Op == fs.OpWrite {
		b.super(w, s)
		return
	}
	b.data(w)
}

// data files what was written under the files it belongs to, or for later. What
// is written where only metadata goes belongs to no file.
func (b *btrfs) data(w *fs.Write) {
	if b.vol.chunks.physicalData(w.Off, w.Len) {
		b.ledger.Write(w.Off, w.Len, w, func(id fs.ID, r fs.Range) { b.batch.Wrote(id, r, w.Stamp, w.Stamp) })
	}
}

// super handles a write of the superblock: a commit, a log commit, or neither.
func (b *btrfs) super(w *fs.Write, s fs.Sink) {
	sb, err := readSuper(b.dev)
	if err != nil {
		s.Problem(fs.Problem{Kind: problemKind(err), At: w.Stamp, Off: superOffset, Len: superSize, Text: err.Error()})
		return
	}
	was := b.vol.sb
	switch {
	case sb.FSID != was.FSID:
		return // another filesystem: the engine probes again
	case sb.Generation == was.Generation && sb.log == was.log && sb.roots == was.roots:
		return
	case sb.Generation < was.Generation:
		s.Problem(fs.Problem{
			Kind: fs.ProblemTamper, At: w.Stamp, Off: superOffset, Len: superSize,
			Text: "the superblock went back to an earlier generation",
		})
	}
	tx := &fs.Tx{Number: sb.Generation, Basis: fs.BasisCommit, Time: fs.NoTime}
	if sb.Generation == was.Generation && sb.log.addr != 0 {
		tx.Basis = fs.BasisTreeLog
	}
	b.now = w.Stamp
	old := b.vol
	for _, id := range b.changed(old, sb, tx) {
		// The old trees are whole until the superblock after this one.
		b.under(old, func() {
			b.batch.Before(id)
			if st, _ := b.batch.Old(id); st.Attr.Type == fs.TypeFile {
				s.Touch(id)
			}
		})
	}
	b.batch.At(w.Stamp)
	if tx.Incomplete != "" {
		s.Problem(fs.Problem{Kind: fs.ProblemCorrupt, At: w.Stamp, Tx: tx.Number, Text: tx.Incomplete})
	}
	built := b.batch.Build(tx, b.moved)
	b.relocated(old, tx)
	if built || tx.Incomplete != "" {
		s.Commit(tx)
	}
	b.ledger.Release()
	if tx.Basis == fs.BasisCommit {
		b.ledger.Forget(b.commits[0].Seq)
		b.commits[0], b.commits[1] = b.commits[1], w.Stamp
	}
}

// under runs f while v is the present state.
func (b *btrfs) under(v *Volume, f func()) {
	now := b.vol
	b.vol = v
	f()
	b.vol = now
}

// changed loads the new trees and lists the inodes to compare, in order.
func (b *btrfs) changed(old *Volume, sb *Superblock, tx *fs.Tx) []fs.ID {
	b.load(sb)
	d := differ{old: old, now: b.vol, since: old.sb.Generation}
	ids := map[fs.ID]bool{}
	if sb.roots != old.sb.roots {
		if sb.Generation <= old.sb.Generation {
			d.since = 0
		}
		ids = d.inodes()
	}
	for id := range old.logged {
		ids[id] = true
	}
	for id := range b.vol.logged {
		ids[id] = true
	}
	switch {
	case b.opened != nil:
		tx.Incomplete = b.opened.Error()
	case d.err != nil:
		tx.Incomplete = d.err.Error()
	}
	return sorted(ids)
}

// moved brings the block index up to date and claims data that was written
// before its owner was known; small content comes inside the metadata.
func (b *btrfs) moved(c delta.Change) {
	for _, e := range c.New.Extents {
		if e.State == fs.ExtentInline && !slices.Contains(c.Old.Extents, e) {
			b.batch.Wrote(c.ID, fs.Range{Off: e.Logical, Len: e.Length}, b.now, b.now)
		}
	}
	b.note(c)
	b.ledger.Moved(c.ID, c.Old.Extents, c.New.Extents, func(r fs.Range, first, last fs.Stamp) { b.batch.Wrote(c.ID, r, first, last) })
}

// Settle implements fs.Filesystem: file data written in place needs no commit.
func (b *btrfs) Settle(at fs.Stamp, s fs.Sink) {
	if b.batch.Empty() {
		return
	}
	tx := &fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime}
	any := b.batch.Build(tx, b.moved)
	clear(b.elsewhere)
	b.ledger.Release()
	if any {
		s.Commit(tx)
	}
}
