package objects

import (
	"errors"
	"fmt"
)

// bufferedLog reads the log of kernels before 5.10: records one after another in
// log_buf, each with a struct printk_log before its text; one of length 0 says
// that the next is at the buffer's start (kernel/printk/printk.c of 4.18,
// log_from_idx and log_next).
func (v *View) bufferedLog(visit func(LogLine)) error {
	var first, next, idx, size, buf uint64
	for name, n := range map[string]struct {
		at    *uint64
		bytes int
	}{"log_first_seq": {&first, 8}, "log_next_seq": {&next, 8}, "log_first_idx": {&idx, 4}, "log_buf_len": {&size, 4}, "log_buf": {&buf, 8}} {
		var err error
		if *n.at, err = v.number(name, n.bytes); err != nil {
			return err
		}
	}
	head := v.K.At(0, "printk_log").Size()
	switch {
	case head == 0:
		return errors.New("type information lacks struct printk_log")
	case size > maxLog || next < first || (next-first)*head > size:
		return fmt.Errorf("log_buf at %#x: records %d to %d in %d bytes", buf, first, next, size)
	}
	for seq := first; seq < next; seq++ {
		if err := v.step(); err != nil {
			return err
		}
		r := v.K.At(buf+idx, "printk_log")
		if r.Uint("len") == 0 {
			idx, r.Addr = 0, buf
		}
		length, n := r.Uint("len"), r.Uint("text_len")
		if r.Err() != nil {
			return fmt.Errorf("log record %d: %w", seq, r.Err())
		}
		if length < head+n || length > size-idx {
			return fmt.Errorf("log record %d at %d: %d bytes with %d of text in a buffer of %d", seq, idx, length, n, size)
		}
		text := make([]byte, n)
		if _, err := v.K.Space.Read(r.Addr+head, text); err != nil {
			return fmt.Errorf("log record %d: %w", seq, err)
		}
		visit(LogLine{Seq: seq, Time: r.Uint("ts_nsec"), Level: int(r.Uint("level")), Text: string(text)})
		if idx += length; idx+head > size {
			idx = 0
		}
	}
	return nil
}
