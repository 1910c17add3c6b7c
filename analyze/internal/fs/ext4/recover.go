package ext4

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// replay does what jbd2_journal_recover does at mount, into the layer: find the
// end of the log, gather revocations, apply copies in order.
func (f *FS) replay() error {
	j := f.log
	if j.start == 0 {
		// Unmounted cleanly. The next transaction will carry s_sequence.
		j.last, j.haveLast = j.sequence-1, true
		return nil
	}
	r := replayer{f: f, j: j, revoked: map[uint64]uint32{}}
	end, at := r.scan()
	r.apply(end)
	j.last, j.lastAt, j.haveLast = end-1, at, true
	r.tail(end, r.end)
	if f.fast != nil {
		f.fast.recover(end)
	}
	return nil
}

type replayer struct {
	f       *FS
	j       *journal
	revoked map[uint64]uint32 // block to the last transaction that revoked it
	end     uint32            // log block after the last commit
}

// walk visits the blocks of the log from s_start while they continue the
// sequence. do is given each descriptor, revoke and commit block; when it
// returns false the walk ends.
func (r *replayer) walk(do func(kind, seq, at uint32, b []byte) bool) {
	at, seq := r.j.start, r.j.sequence
	for steps := uint32(0); steps < r.j.length; steps++ {
		b, err := r.j.block(at)
		if err != nil || be.Uint32(b) != jbd2Magic || be.Uint32(b[8:]) != seq {
			return
		}
		kind := be.Uint32(b[4:])
		if !do(kind, seq, at, b) {
			return
		}
		at = r.j.next(at)
		switch kind {
		case jbdDescriptor:
			n := uint32(len(r.j.tags(b)))
			for range n {
				at = r.j.next(at)
			}
			steps += n
		case jbdCommit:
			seq++
		case jbdRevoke:
		default:
			return
		}
	}
}

// scan finds the first transaction that is not wholly in the log, and gathers
// revocations of those that are. It also returns where the last commit is.
func (r *replayer) scan() (end, at uint32) {
	end, r.end = r.j.sequence, r.j.start
	type revocation struct {
		block uint64
		seq   uint32
	}
	var held []revocation
	r.walk(func(kind, seq, n uint32, b []byte) bool {
		switch kind {
		case jbdDescriptor:
			return r.j.tailOK(b)
		case jbdRevoke:
			if !r.j.tailOK(b) {
				return false
			}
			for _, blk := range r.j.revoked(b) {
				held = append(held, revocation{blk, seq})
			}
		case jbdCommit:
			if !r.j.commitOK(b) {
				return false
			}
			for _, v := range held {
				r.revoked[v.block] = v.seq
			}
			held = held[:0]
			end, at, r.end = seq+1, n, r.j.next(n)
		}
		return true
	})
	return end, at
}

// apply puts the copies of transactions before end into the layer.
func (r *replayer) apply(end uint32) {
	r.walk(func(kind, seq, at uint32, b []byte) bool {
		if int32(seq-end) >= 0 {
			return false
		}
		if kind != jbdDescriptor {
			return true
		}
		for _, t := range r.j.tags(b) {
			at = r.j.next(at)
			if by, ok := r.revoked[t.target]; ok && int32(by-seq) >= 0 {
				continue
			}
			if t.target >= r.f.blocks {
				continue
			}
			data, err := r.j.copyOf(at, t, seq)
			if err != nil {
				p := problemOf(fmt.Errorf("transaction %d: %w", seq, err), 0)
				p.Kind, p.Tx = fs.ProblemTorn, uint64(seq)
				r.f.recover = append(r.f.recover, p)
				continue
			}
			r.f.layer.Put(t.target, data)
		}
		return true
	})
}

// tail notes the descriptors of the transaction being written when the base was
// copied, so that its commit finds them.
func (r *replayer) tail(seq, at uint32) {
	for range r.j.length {
		b, err := r.j.block(at)
		if err != nil || be.Uint32(b) != jbd2Magic || be.Uint32(b[8:]) != seq {
			return
		}
		kind := be.Uint32(b[4:])
		if kind != jbdDescriptor && kind != jbdRevoke {
			return
		}
		r.j.note(at, controlBlock{kind: kind, seq: seq})
		n := 1
		if kind == jbdDescriptor {
			n += len(r.j.tags(b))
		}
		for range n {
			at = r.j.next(at)
		}
	}
}
