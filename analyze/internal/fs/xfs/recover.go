package xfs

import (
	"errors"
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// recover replays a log that the base left dirty, as a mount would, and finds
// where the next record will be written. It tells no changes: what it shows is
// the state the recording began with.
func (x *xfs) recover(v fs.Visitor) {
	if x.ring == nil {
		return
	}
	last, err := x.ring.lastRecord()
	if err != nil {
		if errors.Is(err, errNoRecord) {
			err = fmt.Errorf("log: no whole record found: %w", fs.ErrCorrupt)
		}
		v.Problem(fs.Problem{Kind: problemKind(err), Off: uint64(x.ring.start), Text: "log not recovered: " + err.Error()})
		return
	}
	say := func(err error) {
		if err != nil {
			v.Problem(fs.Problem{Kind: problemKind(err), Text: "log recovery: " + err.Error()})
		}
	}
	// First what later transactions free, then the changes that outlive that.
	cancels := map[uint64]int{}
	_, err = x.scan(last.tail, func(t *trans) { t.countCancels(cancels) })
	say(err)
	p := &replayer{v: x.vol, w: x.view, cancels: cancels}
	next, err := x.scan(last.tail, func(t *trans) {
		say(p.apply(t))
		x.last = max(x.last, t.start)
	})
	say(err)
	if next < last.next && x.awaits(next, last) {
		x.next = next
		x.reload()
		return
	}
	if next < last.next {
		say(fmt.Errorf("the log breaks off at %v before its head %v: %w", next, last.next, fs.ErrCorrupt))
		x.trans = newAssembler(x.trans.limit)
		next = last.next
	}
	x.next = next
	x.reload()
}

// inFlight is how far before the head a record may still be missing: xlog writes
// eight buffers of up to 256 KiB at once, in any order.
const inFlight = 8 * (256<<10 + logHeaderSize*8) / basicBlock

// awaits reports whether the record due at next may be on its way while later
// ones have arrived, as in a base copied from a running guest, and notes those.
func (x *xfs) awaits(next LSN, last *record) bool {
	n := (last.next.block() + x.ring.blocks - next.block()) % x.ring.blocks
	if n > inFlight {
		return false
	}
	for k := range n {
		at := x.ring.advance(next, k)
		b, err := x.ring.read(at.block(), 1)
		if err != nil {
			continue
		}
		if h, ok := x.ring.parseHeader(b); ok && h.lsn == at && at > next {
			x.ahead[at] = true
		}
	}
	return true
}

// scan reads the log from a record on for as far as it goes and hands over each
// committed transaction. It returns where the next record is due.
func (x *xfs) scan(from LSN, yield func(*trans)) (LSN, error) {
	x.trans = newAssembler(x.trans.limit)
	at := from
	var first error
	for used := uint64(0); used <= uint64(x.ring.blocks); {
		r, err := x.ring.record(at)
		if errors.Is(err, errNoRecord) {
			break
		}
		if err != nil {
			return at, err
		}
		done, err := x.trans.feed(r, fs.Stamp{})
		if err != nil && first == nil {
			first = err
		}
		for _, t := range done {
			yield(t)
		}
		used += uint64(len(r.data))/basicBlock + 1
		at = r.next
	}
	return at, first
}

// reload reads the superblock again: a filesystem can grow.
func (x *xfs) reload() {
	b := make([]byte, sbSize)
	if _, err := x.view.ReadAt(b, 0); err != nil {
		return
	}
	sb, err := ParseSuperblock(b)
	if err != nil || sb.UUID != x.vol.sb.UUID || sb.BlockSize != x.vol.sb.BlockSize || sb.AGBlocks != x.vol.sb.AGBlocks {
		return
	}
	*x.vol.sb = *sb
}
