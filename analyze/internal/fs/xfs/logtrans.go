package xfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	opHeaderSize    = 12
	transHeaderSize = 16
	transMagic      = 0x5452414e // XFS_TRANS_HEADER_MAGIC

	opStart    = 0x01
	opCommit   = 0x02
	opContinue = 0x04
	opWasCont  = 0x08
	opEnd      = 0x10
	opUnmount  = 0x20

	// maxOpenTrans is how many transactions may be open at once; the CIL keeps
	// a handful of checkpoints in flight.
	maxOpenTrans = 256
	maxItems     = 1 << 20
	regionCost   = 64 // what holding a region costs beside its bytes
)

// Log item types (fs/xfs/libxfs/xfs_log_format.h XFS_LI_*).
const (
	itemInode  = 0x123b
	itemBuffer = 0x123c
	itemCreate = 0x123f
)

// item is one log item: the format structure, then the regions it announces.
type item struct {
	total   int // regions, the format included; 0 = not known yet
	regions [][]byte
}

func (i *item) kind() uint16 { return le.Uint16(i.regions[0]) }

// trans is a transaction being gathered from the log.
type trans struct {
	tid    uint32
	start  LSN
	header []byte // struct xfs_trans_header, while it is incomplete
	ready  bool   // the header is complete
	items  []*item
	bytes  int
	first  fs.Stamp // the write that carried the start
}

// assembler rebuilds transactions from log records (xlog_recover_process_data).
type assembler struct {
	open  map[uint32]*trans
	limit int // bytes of all open transactions together
	held  int
}

func newAssembler(limit int) *assembler {
	return &assembler{open: map[uint32]*trans{}, limit: max(limit, 1<<20)}
}

// feed takes one record and returns the transactions it commits, in order.
func (a *assembler) feed(r *record, at fs.Stamp) ([]*trans, error) {
	var done []*trans
	b := r.data
	for k := uint32(0); k < r.ops; k++ {
		if len(b) < opHeaderSize {
			return done, fmt.Errorf("log record %v: operation %d of %d is cut off: %w", r.lsn, k, r.ops, fs.ErrCorrupt)
		}
		tid, n, flags := be.Uint32(b), be.Uint32(b[4:]), b[9]
		b = b[opHeaderSize:]
		if uint64(n) > uint64(len(b)) {
			return done, fmt.Errorf("log record %v: operation %d of %d bytes is cut off: %w", r.lsn, k, n, fs.ErrCorrupt)
		}
		t, err := a.op(tid, flags, b[:n], r.lsn, at)
		if err != nil {
			return done, fmt.Errorf("log record %v: operation %d: %w", r.lsn, k, err)
		}
		if t != nil {
			done = append(done, t)
		}
		b = b[n:]
	}
	return done, nil
}

// op handles one operation; it returns the transaction when this commits it.
func (a *assembler) op(tid uint32, flags byte, p []byte, lsn LSN, at fs.Stamp) (*trans, error) {
	if flags&opUnmount != 0 {
		return nil, nil
	}
	t := a.open[tid]
	if flags&opStart != 0 {
		if t != nil {
			a.drop(t) // its commit never came
		}
		if len(a.open) >= maxOpenTrans {
			return nil, fmt.Errorf("more than %d open transactions: %w", maxOpenTrans, fs.ErrCorrupt)
		}
		a.open[tid] = &trans{tid: tid, start: lsn, first: at}
		return nil, nil
	}
	if t == nil {
		return nil, nil // began before what we have of the log
	}
	flags &^= opEnd
	if flags&opWasCont != 0 {
		flags &^= opContinue
	}
	switch flags {
	case opCommit:
		a.drop(t)
		return t, nil
	case 0, opContinue, opWasCont:
		cost := len(p) + regionCost
		if a.held+cost > a.limit {
			a.drop(t)
			return nil, fmt.Errorf("transaction %#x is larger than the log: %w", tid, fs.ErrCorrupt)
		}
		t.bytes += cost
		a.held += cost
		if err := t.region(p, flags == opWasCont); err != nil {
			a.drop(t)
			return nil, fmt.Errorf("transaction %#x: %w", tid, err)
		}
		return nil, nil
	}
	a.drop(t)
	return nil, fmt.Errorf("transaction %#x: operation flags %#x: %w", tid, flags, fs.ErrCorrupt)
}

func (a *assembler) drop(t *trans) {
	a.held -= t.bytes
	delete(a.open, t.tid)
}

// region adds one logged region, or the rest of the last one.
func (t *trans) region(p []byte, more bool) error {
	if len(p) == 0 {
		return nil
	}
	if !t.ready {
		t.header = append(t.header, p...)
		if len(t.header) > transHeaderSize {
			return fmt.Errorf("transaction header of %d bytes: %w", len(t.header), fs.ErrCorrupt)
		}
		if len(t.header) == transHeaderSize {
			if m := le.Uint32(t.header); m != transMagic {
				return fmt.Errorf("transaction header: magic %#08x: %w", m, fs.ErrCorrupt)
			}
			t.ready, t.header = true, nil
		}
		return nil
	}
	if more {
		if len(t.items) == 0 {
			return fmt.Errorf("continuation of nothing: %w", fs.ErrCorrupt)
		}
		i := t.items[len(t.items)-1]
		k := len(i.regions) - 1
		i.regions[k] = append(i.regions[k], p...)
		return i.size()
	}
	var i *item
	if k := len(t.items); k > 0 {
		i = t.items[k-1]
	}
	if i == nil || i.total != 0 && len(i.regions) >= i.total {
		if len(t.items) >= maxItems {
			return fmt.Errorf("more than %d items: %w", maxItems, fs.ErrCorrupt)
		}
		i = &item{}
		t.items = append(t.items, i)
	}
	i.regions = append(i.regions, append([]byte(nil), p...)) // not to keep the whole record
	return i.size()
}

// size learns how many regions an item has from its first.
func (i *item) size() error {
	if i.total != 0 || len(i.regions[0]) < 4 {
		return nil
	}
	i.total = int(le.Uint16(i.regions[0][2:]))
	if i.total < 1 || i.total > 512 {
		return fmt.Errorf("item %#x of %d regions: %w", i.kind(), i.total, fs.ErrCorrupt)
	}
	return nil
}

// whole reports whether all announced regions are there.
func (i *item) whole() bool { return i.total > 0 && len(i.regions) == i.total }
