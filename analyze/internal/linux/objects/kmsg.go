package objects

import (
	"encoding/binary"
	"fmt"
)

// LogLine is one record of the kernel's log.
type LogLine struct {
	Seq   uint64
	Time  uint64 // nanoseconds of the guest's local clock, near CLOCK_MONOTONIC
	Level int
	Text  string
}

// maxLog bounds the log buffer: CONFIG_LOG_BUF_SHIFT is at most 25.
const maxLog = 1 << 25

// Log reads the kernel's log, oldest first: from the ring buffer it has since
// 5.10 (kernel/printk/printk_ringbuffer.c), or the plain one before.
func (v *View) Log(visit func(LogLine)) error {
	at, ok := v.K.Symbol("prb")
	if !ok {
		return v.bufferedLog(visit)
	}
	addr, err := v.K.Space.U64(at)
	if err != nil {
		return err
	}
	rb := v.K.At(addr, "printk_ringbuffer")
	r := &logRing{v: v, countBits: rb.Uint("desc_ring.count_bits"), sizeBits: rb.Uint("text_data_ring.size_bits")}
	r.descs, r.infos, r.data = rb.Ptr("desc_ring.descs"), rb.Ptr("desc_ring.infos"), rb.Ptr("text_data_ring.data")
	head, tail := rb.Uint("desc_ring.head_id.counter"), rb.Uint("desc_ring.tail_id.counter")
	if rb.Err() != nil {
		return rb.Err()
	}
	if r.countBits == 0 || r.countBits > 20 || r.sizeBits == 0 || 1<<r.sizeBits > maxLog {
		return fmt.Errorf("printk_ringbuffer at %#x: 2^%d records in 2^%d bytes", addr, r.countBits, r.sizeBits)
	}
	var bad error
	for id, n := tail, uint64(0); n < 1<<r.countBits; id, n = (id+1)&logIDMask, n+1 {
		if err := v.step(); err != nil {
			return err
		}
		line, ok, err := r.line(id)
		if err != nil {
			bad = err
		} else if ok {
			visit(line)
		}
		if id == head {
			break
		}
	}
	return bad
}

// The state of a record is in the two highest bits of its state variable.
const (
	logIDMask    = 1<<62 - 1
	logCommitted = 1
	logFinalized = 2
)

type logRing struct {
	v                   *View
	countBits, sizeBits uint64
	descs, infos, data  uint64
}

func (r *logRing) line(id uint64) (LogLine, bool, error) {
	i := id & (1<<r.countBits - 1)
	d := r.v.K.At(r.descs, "prb_desc")
	d.Addr += i * d.Size()
	state := d.Uint("state_var.counter")
	begin, next := d.Uint("text_blk_lpos.begin"), d.Uint("text_blk_lpos.next")
	info := d.Cast(r.infos, "printk_info")
	info.Addr += i * info.Size()
	l := LogLine{Seq: info.Uint("seq"), Time: info.Uint("ts_nsec"), Level: int(info.Uint("level"))}
	n := info.Uint("text_len")
	if d.Err() != nil {
		return l, false, fmt.Errorf("log record %#x: %w", id, d.Err())
	}
	if st := state >> 62; state&logIDMask != id&logIDMask || (st != logCommitted && st != logFinalized) {
		return l, false, nil // being written, or overwritten
	}
	if begin&1 != 0 || n == 0 {
		return l, true, nil // without text
	}
	size := uint64(1) << r.sizeBits
	from := begin & (size - 1)
	if begin>>r.sizeBits != next>>r.sizeBits && next&(size-1) != 0 {
		from = 0 // it did not fit before the end, and starts over
	}
	b := make([]byte, min(8+n, size-from))
	if _, err := r.v.K.Space.Read(r.data+from, b); err != nil {
		return l, false, fmt.Errorf("log record %#x: %w", id, err)
	}
	if len(b) < 8 || binary.LittleEndian.Uint64(b)&logIDMask != id&logIDMask {
		return l, false, nil
	}
	l.Text = string(b[8:])
	return l, true, nil
}
