package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/format/rebuild"
)

// The on-disk structures of Linux's dm-log-writes target (drivers/md/dm-log-writes.c,
// structs log_write_super and log_write_entry): a super block of one sector, then for
// each request a sector of header and the data of a write.
const (
	logWritesMagic   = 0x6a736677736872
	logWritesVersion = 1
	logSector        = 512
	logFlush         = 1
	logFUA           = 2
	logDiscard       = 4
	logMark          = 8
	logMetadata      = 16
	logHeader        = 32
	// logTime is where in a header's sector, which the kernel leaves zero, our import
	// looks for the wall-clock time, ns since 1970.
	logTime = 504
)

// LogWrites writes the effects on a disk (rebuild.Effects) and its marks as a log that replay-log and others of dm-log-writes read. realtime gives the
// wall clock of a tape time; where it is not known, the log holds none.
//
// A log has no reads, no requests that failed, and no difference between a request
// and its completion; zeroes written without data become data. A write whose content
// was not captured cannot be in it: that is a loss.
func LogWrites(f File, size uint64, effects iter.Seq2[format.Record, error], realtime func(int64) (int64, bool)) (losses []string, err error) {
	w := &logWriter{f: f, at: logSector, realtime: realtime, old: rebuild.NewStale()}
	damaged := 0
	for r, err := range effects {
		switch r := r.(type) {
		case nil:
			damaged++
			continue
		case *format.DiskRequest:
			w.old.Known(r.Offset, r.Length)
			err = w.request(r)
		case *format.Gap:
			w.old.Gap(r, size)
		case *format.Mark:
			err = w.mark(r)
		}
		if err != nil {
			return w.losses(damaged), fmt.Errorf("record %d: %w", r.Header().Seq, err)
		}
	}
	super := make([]byte, logSector)
	binary.LittleEndian.PutUint64(super[0:], logWritesMagic)
	binary.LittleEndian.PutUint64(super[8:], logWritesVersion)
	binary.LittleEndian.PutUint64(super[16:], w.entries)
	binary.LittleEndian.PutUint32(super[24:], logSector)
	_, err = f.WriteAt(super, 0)
	return w.losses(damaged), err
}

type logWriter struct {
	f        io.WriterAt
	at       int64 // where the next entry goes
	entries  uint64
	noData   uint64
	odd      uint64
	old      rebuild.Stale
	realtime func(int64) (int64, bool)
}

func (w *logWriter) losses(damaged int) (out []string) {
	if w.noData > 0 {
		out = append(out, fmt.Sprintf("%d bytes were written by the guest without their content being captured: the log does not have those writes", w.noData))
	}
	if w.odd > 0 {
		out = append(out, fmt.Sprintf("%d requests do not begin and end on sectors, or are of a kind the log has no entry for", w.odd))
	}
	if damaged > 0 {
		out = append(out, fmt.Sprintf("the tape is damaged in %d places: writes may be missing", damaged))
	}
	return append(out, w.old.Loss()...)
}

// request writes one request that took effect.
func (w *logWriter) request(r *format.DiskRequest) error {
	flags := uint64(0)
	for of, is := range map[format.DiskFlags]uint64{format.DiskPreflush: logFlush, format.DiskFUA: logFUA, format.DiskMeta: logMetadata} {
		if r.Flags&of != 0 {
			flags |= is
		}
	}
	if r.Offset%logSector != 0 || r.Length%logSector != 0 {
		w.odd++
		return nil
	}
	switch r.Op {
	case format.DiskRead:
		return nil
	case format.DiskFlush:
		return w.entry(r.Time, 0, 0, flags|logFlush, 0, nil)
	case format.DiskDiscard:
		return w.entry(r.Time, r.Offset, r.Length, flags|logDiscard, 0, nil)
	case format.DiskWriteZeroes:
		return w.zeroes(r, flags)
	case format.DiskWrite:
		if !r.Captured() {
			w.noData += r.Length
			return nil
		}
		return w.entry(r.Time, r.Offset, r.Length, flags, 0, r.Data)
	}
	w.odd++
	return nil
}

// zeroes writes a run of zeros in pieces, so that memory does not depend on its length.
func (w *logWriter) zeroes(r *format.DiskRequest, flags uint64) error {
	zeros := make([]byte, min(r.Length, format.MaxDiskData))
	for done := uint64(0); done < r.Length; done += uint64(len(zeros)) {
		n := min(r.Length-done, uint64(len(zeros)))
		if err := w.entry(r.Time, r.Offset+done, n, flags, 0, zeros[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (w *logWriter) mark(m *format.Mark) error {
	text := m.Text
	if len(text) > logTime-logHeader {
		w.odd++
		return nil
	}
	return w.entry(m.Time, 0, 0, logMark, uint64(len(text)), []byte(text))
}

// entry writes a header sector and, but for marks, whose text is in it, the data
// after it.
func (w *logWriter) entry(t int64, offset, length, flags, inHeader uint64, data []byte) error {
	h := make([]byte, logSector)
	binary.LittleEndian.PutUint64(h[0:], offset/logSector)
	binary.LittleEndian.PutUint64(h[8:], length/logSector)
	binary.LittleEndian.PutUint64(h[16:], flags)
	binary.LittleEndian.PutUint64(h[24:], inHeader)
	if inHeader > 0 {
		copy(h[logHeader:], data)
		data = nil
	}
	if ns, ok := w.realtime(t); ok {
		binary.LittleEndian.PutUint64(h[logTime:], uint64(ns))
	}
	if _, err := w.f.WriteAt(h, w.at); err != nil {
		return err
	}
	w.at += logSector
	if _, err := w.f.WriteAt(data, w.at); err != nil {
		return err
	}
	w.at += int64(len(data))
	w.entries++
	return nil
}
