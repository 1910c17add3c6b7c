package xfs

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	logMagic        = 0xfeedbabe // XLOG_HEADER_MAGIC_NUM
	logHeaderSize   = 512
	cycleDataWords  = 64       // per header: one word for each block of data
	headerCycleSize = 32 << 10 // bytes of data one header block covers (XLOG_HEADER_CYCLE_SIZE)
	maxRecord       = 1 << 20  // XLOG_MAX_RECORD_BSIZE is 256 KiB; roundoff can add a stripe unit
	logFormatLinux  = 1        // h_fmt XLOG_FMT_LINUX_LE: item formats are little-endian

	// Bytes of the header that its checksum covers: struct xlog_rec_header is
	// padded to 328 on 64-bit machines, 324 where u64 aligns to 4 (i386).
	logHeaderCRC64 = 328
	logHeaderCRC32 = 324
	extHeaderCRC   = 260 // sizeof struct xlog_rec_ext_header
)

// LSN is a place in the log: cycle in the upper half, basic block in the lower.
type LSN uint64

func (l LSN) cycle() uint32 { return uint32(l >> 32) }
func (l LSN) block() uint32 { return uint32(l) }

func makeLSN(cycle, block uint32) LSN { return LSN(cycle)<<32 | LSN(block) }

// String gives cycle:block, as xfs_logprint prints it.
func (l LSN) String() string { return fmt.Sprintf("%d:%d", l.cycle(), l.block()) }

// errNoRecord says that the place looked at does not hold the record expected
// there, whole. In a live log it is the end.
var errNoRecord = errors.New("no such log record")

// record is one log record with its cycle stamps undone.
type record struct {
	lsn, tail LSN
	ops       uint32
	data      []byte
	next      LSN
}

// logRing is the circular log: blocks basic blocks at byte offset start of r.
type logRing struct {
	r      io.ReaderAt
	start  int64
	blocks uint32
	v2     bool
	uuid   [16]byte
}

// read returns n basic blocks from block, around the end of the ring.
func (l *logRing) read(block, n uint32) ([]byte, error) {
	b := make([]byte, int(n)*basicBlock)
	for done := uint32(0); done < n; {
		at := (block + done) % l.blocks
		k := min(n-done, l.blocks-at)
		p := b[int(done)*basicBlock : int(done+k)*basicBlock]
		if m, err := l.r.ReadAt(p, l.start+int64(at)*basicBlock); err != nil && (err != io.EOF || m < len(p)) {
			return nil, fmt.Errorf("log block %d: %w", at, err)
		}
		done += k
	}
	return b, nil
}

// header is the part of struct xlog_rec_header that is used.
type header struct {
	cycle, version, length uint32
	lsn, tail              LSN
	ops, format, size      uint32
	blocks                 uint32 // header blocks, extended ones included
}

// parseHeader checks a record header's own consistency.
func (l *logRing) parseHeader(b []byte) (header, bool) {
	if be.Uint32(b) != logMagic || [16]byte(b[304:320]) != l.uuid {
		return header{}, false
	}
	h := header{
		cycle: be.Uint32(b[4:]), version: be.Uint32(b[8:]), length: be.Uint32(b[12:]),
		lsn: LSN(be.Uint64(b[16:])), tail: LSN(be.Uint64(b[24:])), ops: be.Uint32(b[40:]),
		format: be.Uint32(b[300:]), size: be.Uint32(b[320:]), blocks: 1,
	}
	if h.version&2 != 0 && h.size > headerCycleSize {
		h.blocks = (h.size + headerCycleSize - 1) / headerCycleSize
	}
	ok := h.length <= maxRecord && h.size <= maxRecord && h.format == logFormatLinux &&
		h.lsn.cycle() == h.cycle && h.lsn.block() < l.blocks && h.tail.block() < l.blocks &&
		h.blocks+(h.length+basicBlock-1)/basicBlock <= l.blocks
	return h, ok
}

// record reads the record at lsn. It is errNoRecord unless all of it is there:
// right cycle, right checksum.
func (l *logRing) record(lsn LSN) (*record, error) {
	head, err := l.read(lsn.block(), 1)
	if err != nil {
		return nil, err
	}
	h, ok := l.parseHeader(head)
	if !ok || h.lsn != lsn {
		return nil, errNoRecord
	}
	n := (h.length + basicBlock - 1) / basicBlock
	all, err := l.read(lsn.block(), h.blocks+n)
	if err != nil {
		return nil, err
	}
	data := all[h.blocks*basicBlock:]
	if !checkRecord(all, h) {
		return nil, errNoRecord
	}
	if !unstamp(all, data, h, lsn, l.blocks) {
		return nil, errNoRecord
	}
	return &record{lsn: lsn, tail: h.tail, ops: h.ops, data: data[:h.length], next: l.advance(lsn, h.blocks+n)}, nil
}

// advance is the place n blocks after lsn.
func (l *logRing) advance(lsn LSN, n uint32) LSN {
	b := lsn.block() + n
	if b < l.blocks {
		return makeLSN(lsn.cycle(), b)
	}
	c := lsn.cycle() + 1
	if c == logMagic { // xlog skips this one cycle number
		c++
	}
	return makeLSN(c, b-l.blocks)
}

// checkRecord verifies h_crc over headers and data as they are on disk. Records
// of kernels before 3.8 have none.
func checkRecord(all []byte, h header) bool {
	want := le.Uint32(all[32:])
	if want == 0 {
		return true
	}
	for _, size := range []int{logHeaderCRC64, logHeaderCRC32} {
		c := crc32.Update(0, castagnoli, all[:32])
		c = crc32.Update(c, castagnoli, []byte{0, 0, 0, 0})
		c = crc32.Update(c, castagnoli, all[36:size])
		// One extended header for each further 32 KiB of the data there is.
		ext := uint32(0)
		if h.version&2 != 0 && h.length > 0 {
			ext = (h.length+headerCycleSize-1)/headerCycleSize - 1
		}
		for k := uint32(1); k <= ext && k < h.blocks; k++ {
			c = crc32.Update(c, castagnoli, all[k*basicBlock:k*basicBlock+extHeaderCRC])
		}
		data := all[h.blocks*basicBlock:]
		if crc32.Update(c, castagnoli, data[:h.length]) == want {
			return true
		}
	}
	return false
}

// unstamp checks that each block of data carries the cycle it was written in and
// puts back the word that the stamp replaced.
func unstamp(all, data []byte, h header, lsn LSN, ring uint32) bool {
	for k := 0; k < len(data)/basicBlock; k++ {
		cycle := h.cycle
		if lsn.block()+h.blocks+uint32(k) >= ring {
			cycle++
			if cycle == logMagic {
				cycle++
			}
		}
		if be.Uint32(data[k*basicBlock:]) != cycle {
			return false
		}
		var word []byte
		if k < cycleDataWords {
			word = all[44+4*k:]
		} else {
			x := uint32(k / cycleDataWords)
			if x >= h.blocks {
				return false
			}
			word = all[int(x)*basicBlock+4+4*(k%cycleDataWords):]
		}
		copy(data[k*basicBlock:k*basicBlock+4], word[:4])
	}
	return true
}

// cycleAt is the cycle in which a block of the log was last written.
func (l *logRing) cycleAt(block uint32) (uint32, error) {
	b, err := l.read(block, 1)
	if err != nil {
		return 0, err
	}
	if be.Uint32(b) == logMagic {
		return be.Uint32(b[4:]), nil
	}
	return be.Uint32(b), nil
}

// head finds where the next record will go, by the cycle numbers: they fall by
// one where the newest write ended (xlog_find_head). It returns the block and
// the cycle of the blocks before it.
func (l *logRing) head() (block, cycle uint32, err error) {
	first, err := l.cycleAt(0)
	if err != nil {
		return 0, 0, err
	}
	last, err := l.cycleAt(l.blocks - 1)
	if err != nil {
		return 0, 0, err
	}
	if first == last {
		return 0, first, nil
	}
	lo, hi := uint32(0), l.blocks-1 // cycle(lo) == first, cycle(hi) != first
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		c, err := l.cycleAt(mid)
		if err != nil {
			return 0, 0, err
		}
		if c == first {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi, first, nil
}

// lastRecord looks backwards from the head for the newest whole record. The few
// records before the head may be torn: eight buffers are written at once.
func (l *logRing) lastRecord() (*record, error) {
	head, _, err := l.head()
	if err != nil {
		return nil, err
	}
	limit := min(l.blocks, 16*maxRecord/basicBlock)
	for back := uint32(1); back <= limit; back++ {
		at := (head + l.blocks - back) % l.blocks
		b, err := l.read(at, 1)
		if err != nil {
			return nil, err
		}
		h, ok := l.parseHeader(b)
		if !ok || h.lsn.block() != at {
			continue
		}
		r, err := l.record(h.lsn)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, errNoRecord) {
			return nil, err
		}
	}
	return nil, errNoRecord
}
