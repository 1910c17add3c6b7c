package blktrace

import (
	"encoding/binary"
	"fmt"

	"github.com/xentape/xentape/format"
)

// struct blk_io_trace, in host byte order.
const (
	recordSize  = 48
	recordMagic = 0x65617407 // BLK_IO_TRACE_MAGIC | BLK_IO_TRACE_VERSION
)

// Actions, in the low 16 bits of a record's action.
const (
	actQueue    = 1 // __BLK_TA_QUEUE
	actComplete = 8 // __BLK_TA_COMPLETE
)

// Categories, in the high 16 bits.
const (
	catWrite   = 1 << 1
	catFlush   = 1 << 2
	catSync    = 1 << 3
	catNotify  = 1 << 10
	catMeta    = 1 << 12
	catDiscard = 1 << 13
	catFUA     = 1 << 15
)

// record is one event of the tracer.
type record struct {
	time     int64 // ns CLOCK_MONOTONIC
	sector   uint64
	bytes    uint32
	action   uint16
	category uint16
	pid, cpu uint32
	errno    uint16
}

// parse decodes the record at the start of b and says how long it is, with the
// data some records carry behind them. More bytes are needed when n is 0.
func (r *record) parse(b []byte) (n int, err error) {
	if len(b) < recordSize {
		return 0, nil
	}
	le := binary.LittleEndian
	if m := le.Uint32(b); m != recordMagic {
		return 0, fmt.Errorf("block trace: magic %#x, want %#x", m, uint32(recordMagic))
	}
	n = recordSize + int(le.Uint16(b[46:]))
	if len(b) < n {
		return 0, nil
	}
	*r = record{
		time: int64(le.Uint64(b[8:])), sector: le.Uint64(b[16:]), bytes: le.Uint32(b[24:]),
		action: le.Uint16(b[28:]), category: le.Uint16(b[30:]),
		pid: le.Uint32(b[32:]), cpu: le.Uint32(b[40:]), errno: le.Uint16(b[44:]),
	}
	return n, nil
}

// op is the operation a record is about. The tracer does not tell write-zeroes from
// discard: both have the category of discards (blk_trace_bio_get_cgid's caller
// __blk_add_trace, what |= MASK_TC_BIT(op, DISCARD)) or of writes.
func (r *record) op() format.DiskOp {
	switch {
	case r.category&catDiscard != 0:
		return format.DiskDiscard
	case r.category&catWrite != 0 && r.bytes > 0:
		return format.DiskWrite
	case r.category&(catWrite|catFlush) != 0:
		return format.DiskFlush
	}
	return format.DiskRead
}
