package xfs

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Flags of a buffer item (XFS_BLF_*).
const (
	bufInodes = 1 << 0 // of the buffer only the unlinked list pointers count
	bufCancel = 1 << 1
	bufQuota  = 1<<2 | 1<<3 | 1<<4
	bufChunk  = 128 // bytes per bit of the map

	maxBufBlocks = 128 // 64 KiB, the largest metadata buffer
)

// bufItem is a decoded struct xfs_buf_log_format.
type bufItem struct {
	flags uint16
	blkno uint64 // basic block address on the data device
	size  int    // bytes
	bits  []byte // map of the chunks that are logged
}

func parseBuf(b []byte) (bufItem, error) {
	if len(b) < 20 {
		return bufItem{}, fmt.Errorf("buffer item of %d bytes: %w", len(b), fs.ErrCorrupt)
	}
	f := bufItem{flags: le.Uint16(b[4:]), blkno: le.Uint64(b[8:]), size: int(le.Uint16(b[6:])) * basicBlock}
	if n := le.Uint32(b[16:]); uint64(n)*4 <= uint64(len(b)-20) {
		f.bits = b[20 : 20+4*n]
	} else {
		f.bits = b[20:]
	}
	if f.size > maxBufBlocks*basicBlock {
		return f, fmt.Errorf("buffer item of %d bytes of buffer: %w", f.size, fs.ErrCorrupt)
	}
	return f, nil
}

// run returns the first run of set bits at or after bit: start and length.
func (f bufItem) run(bit int) (start, n int) {
	has := func(k int) bool { return k/8 < len(f.bits) && f.bits[k/8]>>(k%8)&1 != 0 }
	for ; bit < 8*len(f.bits) && !has(bit); bit++ {
		if f.bits[bit/8] == 0 {
			bit |= 7
		}
	}
	for start = bit; has(bit); bit++ {
		n++
	}
	return start, n
}

// replayer applies committed transactions to a view, as log recovery does.
type replayer struct {
	v       *Volume
	w       *view
	cancels map[uint64]int // recovery only: buffers freed later in the log
	err     error          // first thing that could not be applied
}

func (p *replayer) fail(err error) {
	if err != nil && p.err == nil {
		p.err = err
	}
}

// inodes lists the inode numbers that a transaction logs.
func (t *trans) inodes() []uint64 {
	var out []uint64
	for _, i := range t.items {
		if i.whole() && i.kind() == itemInode {
			if f, err := parseInodeItem(i.regions[0]); err == nil {
				out = append(out, f.ino)
			}
		}
	}
	return out
}

// apply replays t: buffers and new inode chunks first, then inodes, cancelled
// buffers last (xlog_recover_reorder_trans). Of a buffer of inodes only the
// pointers of the unlinked lists would count, which nothing here reads.
func (p *replayer) apply(t *trans) error {
	p.err = nil
	var inodes, cancelled []*item
	for _, i := range t.items {
		if !i.whole() || len(i.regions[0]) < 4 {
			p.fail(fmt.Errorf("transaction %#x: an item is incomplete: %w", t.tid, fs.ErrCorrupt))
			continue
		}
		switch i.kind() {
		case itemInode:
			inodes = append(inodes, i)
		case itemCreate:
			p.create(i.regions[0], t.start)
		case itemBuffer:
			f, err := parseBuf(i.regions[0])
			switch {
			case err != nil:
				p.fail(err)
			case f.flags&bufCancel != 0:
				cancelled = append(cancelled, i)
			case f.flags&bufInodes == 0:
				p.buffer(f, i.regions[1:], t.start)
			}
		}
	}
	for _, i := range inodes {
		p.inode(i, t.start)
	}
	for _, i := range cancelled {
		f, _ := parseBuf(i.regions[0])
		p.cancel(f)
	}
	return p.err
}

// cancelled reports whether recovery must leave a buffer alone because a later
// transaction frees it.
func (p *replayer) cancelled(blkno uint64) bool { return p.cancels[blkno] > 0 }

func (p *replayer) cancel(f bufItem) {
	if p.cancels[f.blkno] > 0 {
		p.cancels[f.blkno]--
	}
	p.w.drop(f.blkno*basicBlock, uint64(f.size))
}

// within checks a range of basic blocks against the device.
func (p *replayer) within(blkno uint64, n int) bool {
	size := uint64(p.v.sb.Size())
	return n > 0 && blkno <= size/basicBlock && uint64(n) <= size-blkno*basicBlock
}

// read returns the present content; what was never captured reads as zero and
// known is false.
func (p *replayer) read(off int64, n int) (b []byte, known bool) {
	b = make([]byte, n)
	k, err := p.w.ReadAt(b, off)
	return b, k == n && !fs.IsUnknown(err)
}

// buffer replays the logged chunks of one metadata buffer.
func (p *replayer) buffer(f bufItem, regions [][]byte, lsn LSN) {
	if f.flags&bufQuota != 0 || p.cancelled(f.blkno) {
		return
	}
	if !p.within(f.blkno, f.size) {
		p.fail(fmt.Errorf("buffer at block %d of %d bytes is beyond the filesystem: %w", f.blkno, f.size, fs.ErrCorrupt))
		return
	}
	off := int64(f.blkno * basicBlock)
	b, known := p.read(off, f.size)
	if have, _, ok := p.v.sb.ownStamp(b); ok && newer(have, lsn) {
		return
	}
	covered, err := f.patch(b, regions)
	p.fail(err)
	if !known && covered < f.size {
		p.fail(fmt.Errorf("buffer at block %d: its base: %w", f.blkno, &fs.UnknownError{Off: uint64(off), Len: uint64(f.size)}))
		return
	}
	if _, at, ok := p.v.sb.ownStamp(b); ok {
		be.PutUint64(b[at.lsn:], uint64(lsn))
		setCRC(b, at.crc)
	}
	p.w.put(off, b, lsn)
}

// patch copies regions to the runs of chunks they stand for and says how many
// bytes that were.
func (f bufItem) patch(b []byte, regions [][]byte) (int, error) {
	bit, covered := 0, 0
	for _, r := range regions {
		start, n := f.run(bit)
		if n == 0 {
			return covered, fmt.Errorf("buffer at block %d: a region without place: %w", f.blkno, fs.ErrCorrupt)
		}
		// A run may have been logged in several regions.
		n = min(n, max(1, len(r)/bufChunk))
		if (start+n)*bufChunk > len(b) {
			return covered, fmt.Errorf("buffer at block %d: chunk %d is beyond its %d bytes: %w", f.blkno, start+n, len(b), fs.ErrCorrupt)
		}
		covered += copy(b[start*bufChunk:(start+n)*bufChunk], r)
		bit = start + n
	}
	return covered, nil
}

// create replays the birth of an inode chunk (struct xfs_icreate_log), whose
// inodes are not logged one by one.
func (p *replayer) create(b []byte, lsn LSN) {
	if len(b) < 28 {
		p.fail(fmt.Errorf("inode create item of %d bytes: %w", len(b), fs.ErrCorrupt))
		return
	}
	sb := p.v.sb
	ag, agbno, count := be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint32(b[12:])
	isize, gen := be.Uint32(b[16:]), be.Uint32(b[24:])
	fsb := uint64(ag)<<sb.AGBlockLog | uint64(agbno)
	off, ok := sb.blockOffset(fsb)
	if !ok || isize != uint32(sb.InodeSize) || count == 0 || count > 1024 || bits.OnesCount32(count) != 1 && count%4 != 0 {
		p.fail(fmt.Errorf("inode create item: %d inodes at block %d of group %d: %w", count, agbno, ag, fs.ErrCorrupt))
		return
	}
	if !p.within(uint64(off)/basicBlock, int(count*isize)) || p.cancelled(uint64(off)/basicBlock) {
		return
	}
	raw := make([]byte, count*isize)
	for k := uint32(0); k < count; k++ {
		i := raw[k*isize : (k+1)*isize]
		be.PutUint16(i, inodeMagic)
		be.PutUint32(i[92:], gen)
		be.PutUint32(i[96:], ^uint32(0))
		i[4] = 2
		if sb.Version == 5 {
			i[4] = 3
			be.PutUint64(i[112:], uint64(lsn))
			be.PutUint64(i[152:], fsb<<sb.InodesPerLog+uint64(k))
			copy(i[160:176], sb.MetaUUID[:])
			setCRC(i, 100)
		}
	}
	p.w.put(off, raw, lsn)
}

// countCancels notes the buffers that t frees, for recovery's first pass.
func (t *trans) countCancels(into map[uint64]int) {
	for _, i := range t.items {
		if !i.whole() || len(i.regions[0]) < 4 || i.kind() != itemBuffer {
			continue
		}
		if f, err := parseBuf(i.regions[0]); err == nil && f.flags&bufCancel != 0 {
			into[f.blkno]++
		}
	}
}

// problemKind tells bytes that were not captured from bytes that are wrong.
func problemKind(err error) fs.ProblemKind {
	switch {
	case fs.IsUnknown(err):
		return fs.ProblemUnknown
	case errors.Is(err, fs.ErrUnsupported):
		return fs.ProblemUnsupported
	}
	return fs.ProblemCorrupt
}
