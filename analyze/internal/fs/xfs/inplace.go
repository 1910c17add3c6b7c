package xfs

import (
	"bytes"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// inspect looks at a write outside the log before it is stored. Metadata reaches
// its place only after its log record, so nothing in it should be new. What
// differs is recorded to be compared; what is older than the committed state,
// because the log moved on while the write was under way, is kept covered.
// data is nil for a discard.
func (x *xfs) inspect(off, n uint64, data []byte) {
	bs := uint64(x.vol.sb.BlockSize)
	old := make([]byte, bs)
	for at := off; at < off+n; {
		k := min(bs-at%bs, off+n-at)
		was := old[:k]
		if m, err := x.view.ReadAt(was, int64(at)); m < int(k) || err != nil {
			clear(was)
		}
		var now []byte
		if data != nil {
			now = data[at-off : at-off+k]
		}
		if !bytes.Equal(was, now) {
			x.compare(at, was, now)
		}
		at += k
	}
}

// compare records the inodes that a changed block describes, before and after.
func (x *xfs) compare(at uint64, was, now []byte) {
	if isInodes(was) || isInodes(now) {
		x.compareInodes(at, was, now)
		return
	}
	if lsn, p, ok := x.vol.sb.ownStamp(now); ok {
		if p.blkno != 0 && be.Uint64(now[p.blkno:])*basicBlock != at {
			return // a copy of metadata inside some file
		}
		if l := x.view.at(at, uint64(len(now))); newer(l, lsn) {
			x.keep = append(x.keep, fs.Range{Off: at, Len: uint64(len(now))})
			return
		}
		x.before(now, p)
	}
	if _, p, ok := x.vol.sb.ownStamp(was); ok {
		x.before(was, p)
	}
}

func (x *xfs) before(b []byte, p stampPlace) {
	if p.owner != 0 {
		x.inplace.Before(id(be.Uint64(b[p.owner:])))
	}
}

func isInodes(b []byte) bool { return len(b) >= 256 && be.Uint16(b) == inodeMagic }

// compareInodes goes through a block of inodes slot by slot.
func (x *xfs) compareInodes(at uint64, was, now []byte) {
	sb := x.vol.sb
	size := uint64(sb.InodeSize)
	for k := uint64(0); k+size <= uint64(len(was)); k += size {
		a := was[k : k+size]
		var b []byte
		if now != nil {
			b = now[k : k+size]
		}
		if bytes.Equal(a, b) || (at+k)%size != 0 {
			continue
		}
		if sb.Version == 5 && isInodes(b) {
			if l := x.view.at(at+k, size); newer(l, LSN(be.Uint64(b[112:]))) {
				x.keep = append(x.keep, fs.Range{Off: at + k, Len: size})
				continue
			}
		}
		block := (at + k) >> sb.BlockLog
		ag, bno := block/uint64(sb.AGBlocks), block%uint64(sb.AGBlocks)
		ino := (ag<<sb.AGBlockLog|bno)<<sb.InodesPerLog | (at+k)%uint64(sb.BlockSize)/size
		x.inplace.Before(id(ino))
	}
}

// tampered tells what a write in place changed that no log record had said.
func (x *xfs) tampered(w *fs.Write, s fs.Sink) {
	if x.inplace.Empty() {
		return
	}
	x.inplace.At(w.Stamp)
	tx := &fs.Tx{Basis: fs.BasisWrite, Time: fs.NoTime}
	if !x.build(x.inplace, tx) {
		return
	}
	if x.ring != nil && x.next != 0 {
		for _, c := range tx.Inodes {
			s.Problem(fs.Problem{
				Kind: fs.ProblemTamper, At: w.Stamp, ID: c.ID, Off: w.Off, Len: w.Len,
				Text: fmt.Sprintf("inode %v changed in place without a log record", c.ID),
			})
		}
	}
	s.Commit(tx)
}
