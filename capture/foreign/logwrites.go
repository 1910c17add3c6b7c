package foreign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/xentape/xentape/format"
)

// The log of Linux's dm-log-writes target (drivers/md/dm-log-writes.c, structs
// log_write_super and log_write_entry), which QEMU's blklogwrites driver writes
// too: a super block, then for each request one block of header and its data.
const (
	logWritesMagic   = 0x6a736677736872
	logWritesVersion = 1
	logEntrySize     = 32
	logFlush         = 1
	logFUA           = 2
	logDiscard       = 4
	logMark          = 8
	logMetadata      = 16
)

// Recorders built on this format may put the wall-clock time of a request, in
// little-endian nanoseconds since 1970, into the last 8 bytes of the first 512
// of its header block, which the kernel leaves zero.
const logTimeOffset = 504

// LogWrites reads one log. Its requests are in the order in which the device
// made them durable, which is not the order of submission.
type LogWrites struct {
	Name       string
	SectorSize int    // bytes; unit of the addresses in the log
	Entries    uint64 // as the super block counts them; 0 when it was never brought up to date
	r          io.ReaderAt
	size       int64
}

// OpenLogWrites reads the super block of a log of size bytes.
func OpenLogWrites(r io.ReaderAt, size int64, name string) (*LogWrites, error) {
	b := make([]byte, logEntrySize)
	if err := readFullAt(r, b, 0); err != nil {
		return nil, fmt.Errorf("%s: log-writes super block: %w", name, err)
	}
	magic, version, sector := le64(b), le64(b[8:]), binary.LittleEndian.Uint32(b[24:])
	if magic != logWritesMagic || version != logWritesVersion {
		return nil, fmt.Errorf("%s: not a dm-log-writes log: magic %#x, version %d", name, magic, version)
	}
	if sector < 512 || sector > 1<<16 || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("%s: log-writes super block: sector size %d", name, sector)
	}
	return &LogWrites{Name: name, SectorSize: int(sector), Entries: le64(b[16:]), r: r, size: size}, nil
}

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// Records gives the log in order, as *format.DiskRequest (flag DiskApplied, ID
// the entry's number from 1) and *format.Mark. Header.Time is wall-clock
// nanoseconds since 1970, or 0 with unbounded uncertainty where the log has
// none. Each record owns its data. An error ends the iteration; what came before
// it holds.
func (l *LogWrites) Records() iter.Seq2[format.Record, error] {
	return func(yield func(format.Record, error) bool) {
		off := int64(l.SectorSize)
		for n := uint64(1); ; n++ {
			e, err := l.entry(n, off)
			if err != nil {
				if !errors.Is(err, errLogEnd) {
					yield(nil, fmt.Errorf("%s: log-writes entry %d at %#x: %w", l.Name, n, off, err))
				}
				return
			}
			if !l.emit(e, yield) {
				return
			}
			off = e.next
		}
	}
}

var errLogEnd = errors.New("end of log")

// A logEntry is one checked header: its data lies within the file.
type logEntry struct {
	number         uint64
	offset, length uint64 // bytes on the disk
	flags          uint64
	stamp          format.Stamp
	mark           string
	data, next     int64 // where the data and the next entry are in the file
}

// entry reads the header at off. The count of the super block says where the log
// ends: what follows may be left from an earlier log on the same device.
func (l *LogWrites) entry(n uint64, off int64) (logEntry, error) {
	if l.Entries > 0 && n > l.Entries || l.Entries == 0 && off >= l.size {
		return logEntry{}, errLogEnd
	}
	b := make([]byte, 512)
	if err := readFullAt(l.r, b, off); err != nil {
		if l.Entries == 0 {
			return logEntry{}, errLogEnd
		}
		return logEntry{}, err
	}
	sector, count, flags, length := le64(b), le64(b[8:]), le64(b[16:]), le64(b[24:])
	if sector|count|flags|length == 0 {
		if l.Entries == 0 {
			return logEntry{}, errLogEnd
		}
		return logEntry{}, fmt.Errorf("empty, the super block counts %d entries", l.Entries)
	}
	unit := uint64(l.SectorSize)
	if sector > (1<<62)/unit || count > (1<<62)/unit {
		return logEntry{}, fmt.Errorf("sector %#x, %#x sectors", sector, count)
	}
	e := logEntry{number: n, offset: sector * unit, length: count * unit, flags: flags, data: off + int64(unit)}
	e.next = e.data
	if flags&logDiscard == 0 {
		if e.length > uint64(max(l.size-e.data, 0)) {
			return e, fmt.Errorf("%d bytes of data: %w", e.length, io.ErrUnexpectedEOF)
		}
		e.next += int64(e.length)
	}
	return e, e.readMark(l, b, length, off)
}

// readMark takes the mark's text and the time from the header block b.
func (e *logEntry) readMark(l *LogWrites, b []byte, length uint64, off int64) error {
	e.stamp.Uncertainty = ^uint32(0)
	inBlock := uint64(0)
	if e.flags&logMark != 0 {
		if length > uint64(l.SectorSize-logEntrySize) {
			return fmt.Errorf("mark of %d bytes", length)
		}
		text := make([]byte, length)
		if err := readFullAt(l.r, text, off+logEntrySize); err != nil {
			return fmt.Errorf("mark: %w", err)
		}
		e.mark, inBlock = string(text), length
	}
	if logEntrySize+inBlock <= logTimeOffset {
		if t := int64(le64(b[logTimeOffset:])); t > 0 {
			e.stamp.Time, e.stamp.Uncertainty = t, 0
		}
	}
	return nil
}

// emit yields one entry as records; it returns false when the consumer stops.
func (l *LogWrites) emit(e logEntry, yield func(format.Record, error) bool) bool {
	if e.flags&logMark != 0 {
		return yield(&format.Mark{Stamp: e.stamp, Text: e.mark}, nil)
	}
	q := format.DiskRequest{Stamp: e.stamp, ID: e.number, Op: format.DiskWrite, Flags: e.requestFlags(), Offset: e.offset}
	switch {
	case e.flags&logDiscard != 0:
		q.Op, q.Length = format.DiskDiscard, e.length
		return yield(&q, nil)
	case e.length == 0:
		q.Op = format.DiskFlush
		return yield(&q, nil)
	}
	for at := uint64(0); at < e.length; at += format.MaxDiskData {
		part := q
		part.Offset, part.Length = e.offset+at, min(e.length-at, format.MaxDiskData)
		part.Data = make([]byte, part.Length)
		if err := readFullAt(l.r, part.Data, e.data+int64(at)); err != nil {
			yield(nil, fmt.Errorf("%s: log-writes entry %d: data: %w", l.Name, e.number, err))
			return false
		}
		if !yield(&part, nil) {
			return false
		}
	}
	return true
}

func (e *logEntry) requestFlags() format.DiskFlags {
	f := format.DiskApplied
	if e.flags&logFlush != 0 && e.length > 0 {
		f |= format.DiskPreflush
	}
	if e.flags&logFUA != 0 {
		f |= format.DiskFUA
	}
	if e.flags&logMetadata != 0 {
		f |= format.DiskMeta
	}
	return f
}
