package ext4

import (
	"fmt"
	"slices"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// On-disk constants of include/linux/jbd2.h. The journal is big-endian.
const (
	jbd2Magic      = 0xc03b3998
	jbdDescriptor  = 1
	jbdCommit      = 2
	jbdSuperV1     = 3
	jbdSuperV2     = 4
	jbdRevoke      = 5
	jbdHeader      = 12
	jbdMinBlocks   = 1024
	jbdDefaultFast = 256

	jbdIncompat64bit  = 0x2
	jbdIncompatCsumV2 = 0x8
	jbdIncompatCsumV3 = 0x10
	jbdIncompatFast   = 0x20

	tagEscape   = 1
	tagSameUUID = 2
	tagLast     = 8
)

// journal is the log: where its blocks are and what is known of its state.
type journal struct {
	dev       fs.Device // that holds the log
	external  bool
	blockSize uint64
	runs      []run  // log block to device block
	super     uint32 // log block of the superblock

	length   uint32 // s_maxlen, less the fast commit area
	fastLen  uint32 // blocks of the fast commit area, at the end
	first    uint32
	start    uint32
	sequence uint32
	incompat uint32
	seed     uint32

	control  map[uint32]controlBlock // by log block, of transactions not yet committed
	bySeq    map[uint32][]uint32
	last     uint32 // last transaction applied
	lastAt   uint32 // log block of its commit; 0 unknown
	haveLast bool
}

// controlBlock is a descriptor or revoke block seen in the log.
type controlBlock struct {
	kind uint32
	seq  uint32
	at   fs.Stamp
}

// openJournal finds the log, replays it and leaves the position for following.
func (f *FS) openJournal() error {
	j := &journal{dev: f.dev, blockSize: f.blockSize, control: map[uint32]controlBlock{}, bySeq: map[uint32][]uint32{}}
	if f.journalInum != 0 {
		i, err := f.now.inode(f.journalInum)
		if err != nil {
			return err
		}
		m := f.now.mapping(&i)
		if m.err != nil {
			return m.err
		}
		j.runs = m.runs
	} else {
		if f.o.Companion != nil {
			j.dev = f.o.Companion(f.journalUUID)
		}
		if f.o.Companion == nil || j.dev == nil {
			f.unlogged = true
			return fmt.Errorf("it is on another device, UUID %s, which is not on the tape: changes show when they are written in place: %w", uuidText(f.journalUUID), fs.ErrUnsupported)
		}
		j.external = true
		// Log blocks are those of the device (jbd2_journal_bmap); the journal's
		// superblock is behind the device's own (ext4_get_dev_journal).
		j.super = uint32(superOffset/f.blockSize + 1)
		j.runs = []run{{count: j.dev.Size() / f.blockSize}}
	}
	if err := j.readSuper(); err != nil {
		return err
	}
	f.log = j
	f.fast = newFastState(f)
	return f.replay()
}

// block reads log block n.
func (j *journal) block(n uint32) ([]byte, error) {
	p, ok := j.physical(n)
	if !ok {
		return nil, fmt.Errorf("log block %d not mapped: %w", n, fs.ErrCorrupt)
	}
	b := make([]byte, j.blockSize)
	if _, err := j.dev.ReadAt(b, int64(p*j.blockSize)); err != nil {
		return nil, fmt.Errorf("log block %d: %w", n, err)
	}
	return b, nil
}

func (j *journal) physical(n uint32) (uint64, bool) {
	i, found := slices.BinarySearchFunc(j.runs, uint64(n), func(r run, n uint64) int {
		switch {
		case r.logical+r.count <= n:
			return -1
		case r.logical > n:
			return 1
		}
		return 0
	})
	if !found {
		return 0, false
	}
	return j.runs[i].physical + uint64(n) - j.runs[i].logical, true
}

// logical is the log block at device block p; ok is false outside the log.
func (j *journal) logical(p uint64) (uint32, bool) {
	for _, r := range j.runs {
		if p >= r.physical && p < r.physical+r.count {
			return uint32(r.logical + p - r.physical), true
		}
	}
	return 0, false
}

// readSuper reads log block 0 (struct journal_superblock_s).
func (j *journal) readSuper() error {
	b, err := j.block(j.super)
	if err != nil {
		return err
	}
	kind := be.Uint32(b[4:])
	if be.Uint32(b) != jbd2Magic || kind != jbdSuperV1 && kind != jbdSuperV2 {
		return fmt.Errorf("log block 0: not a journal superblock: %w", fs.ErrCorrupt)
	}
	if bs := be.Uint32(b[0xc:]); uint64(bs) != j.blockSize {
		return fmt.Errorf("journal superblock: s_blocksize %d: %w", bs, fs.ErrCorrupt)
	}
	j.length, j.first = be.Uint32(b[0x10:]), be.Uint32(b[0x14:])
	j.sequence, j.start, j.incompat = be.Uint32(b[0x18:]), be.Uint32(b[0x1c:]), 0
	if kind == jbdSuperV2 {
		j.incompat = be.Uint32(b[0x28:])
	}
	j.seed = crc32c(^uint32(0), b[0x30:0x40])
	var mapped uint64
	if k := len(j.runs); k > 0 {
		mapped = j.runs[k-1].logical + j.runs[k-1].count
	}
	if j.first == 0 || j.first >= j.length || uint64(j.length) > mapped {
		return fmt.Errorf("journal superblock: s_first %d, s_maxlen %d: %w", j.first, j.length, fs.ErrCorrupt)
	}
	j.fastLen = 0
	if j.incompat&jbdIncompatFast != 0 {
		n := be.Uint32(b[0x54:])
		if n == 0 {
			n = jbdDefaultFast
		}
		if n < j.length && j.length-n >= jbdMinBlocks {
			j.length, j.fastLen = j.length-n, n
		}
	}
	return nil
}

func (j *journal) checksummed() bool {
	return j.incompat&(jbdIncompatCsumV2|jbdIncompatCsumV3) != 0
}

// next is the log block after n, around the end.
func (j *journal) next(n uint32) uint32 {
	if n++; n >= j.length {
		return j.first
	}
	return n
}

// tagSize is journal_tag_bytes().
func (j *journal) tagSize() int {
	if j.incompat&jbdIncompatCsumV3 != 0 {
		return 16
	}
	n := 8
	if j.incompat&jbdIncompat64bit != 0 {
		n += 4
	}
	if j.incompat&jbdIncompatCsumV2 != 0 {
		n += 2
	}
	return n
}

// tag says which block of the filesystem a log block is a copy of.
type tag struct {
	target uint64
	flags  uint32
	sum    uint32
}

// tags decodes a descriptor block.
func (j *journal) tags(b []byte) []tag {
	end, size := len(b), j.tagSize()
	if j.checksummed() {
		end -= 4
	}
	var out []tag
	for o := jbdHeader; o+size <= end; {
		t := tag{target: uint64(be.Uint32(b[o:]))}
		if j.incompat&jbdIncompatCsumV3 != 0 {
			t.flags, t.sum = be.Uint32(b[o+4:]), be.Uint32(b[o+12:])
		} else {
			t.flags, t.sum = uint32(be.Uint16(b[o+6:])), uint32(be.Uint16(b[o+4:]))
		}
		if j.incompat&jbdIncompat64bit != 0 {
			t.target |= uint64(be.Uint32(b[o+8:])) << 32
		}
		out = append(out, t)
		o += size
		if t.flags&tagSameUUID == 0 {
			o += 16
		}
		if t.flags&tagLast != 0 {
			break
		}
	}
	return out
}

// revoked decodes a revoke block: blocks whose earlier copies must not be replayed.
func (j *journal) revoked(b []byte) []uint64 {
	end, size := int(be.Uint32(b[12:])), 4
	if j.incompat&jbdIncompat64bit != 0 {
		size = 8
	}
	limit := len(b)
	if j.checksummed() {
		limit -= 4
	}
	var out []uint64
	for o := 16; o+size <= min(end, limit); o += size {
		if size == 8 {
			out = append(out, be.Uint64(b[o:]))
		} else {
			out = append(out, uint64(be.Uint32(b[o:])))
		}
	}
	return out
}

// sumOK verifies a log block against its tag.
func (j *journal) sumOK(t tag, seq uint32, b []byte) bool {
	if !j.checksummed() {
		return true
	}
	var s [4]byte
	be.PutUint32(s[:], seq)
	got := crc32c(crc32c(j.seed, s[:]), b)
	if j.incompat&jbdIncompatCsumV3 == 0 {
		return got&0xffff == t.sum
	}
	return got == t.sum
}

// tailOK verifies the checksum at the end of a descriptor or revoke block.
func (j *journal) tailOK(b []byte) bool {
	if !j.checksummed() {
		return true
	}
	n := len(b) - 4
	got := crc32c(crc32c(j.seed, b[:n]), []byte{0, 0, 0, 0})
	return got == be.Uint32(b[n:])
}

// commitOK verifies a commit block (struct commit_header, h_chksum[0]).
func (j *journal) commitOK(b []byte) bool {
	if !j.checksummed() {
		return true
	}
	c := append([]byte(nil), b...)
	want := be.Uint32(c[0x10:])
	be.PutUint32(c[0x10:], 0)
	return crc32c(j.seed, c) == want
}

// commitTime is h_commit_sec and h_commit_nsec: the guest's wall clock.
func commitTime(b []byte) int64 {
	sec, nsec := be.Uint64(b[0x30:]), be.Uint32(b[0x38:])
	if sec == 0 || sec > 1<<33 || nsec >= 1e9 {
		return fs.NoTime
	}
	return int64(sec)*1e9 + int64(nsec)
}

// copyOf reads the log copy of a block and undoes its escaping: a block that
// began with the magic number is stored with zeros there.
func (j *journal) copyOf(at uint32, t tag, seq uint32) ([]byte, error) {
	b, err := j.block(at)
	if err != nil {
		return nil, err
	}
	if !j.sumOK(t, seq, b) {
		return nil, fmt.Errorf("log block %d, copy of block %d: wrong checksum: %w", at, t.target, fs.ErrCorrupt)
	}
	if t.flags&tagEscape != 0 {
		be.PutUint32(b, jbd2Magic)
	}
	return b, nil
}
