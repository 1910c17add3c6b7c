package xfs

import (
	"bytes"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// fuzzDisk is a small filesystem to take real structures from.
func fuzzDisk(t testing.TB) (*fstest.Sparse, *Volume) {
	r := small(t)
	fstest.Apply(t, r.Base, r.Log)
	v, err := OpenVolume(r.Base)
	require.NoError(t, err)
	return r.Base, v
}

// FuzzInode: whatever an inode says, reading its forks ends and stays inside.
func FuzzInode(f *testing.F) {
	_, v := fuzzDisk(f)
	seeds := 0
	require.NoError(f, v.Chunks(func(c Chunk) {
		for k := uint64(0); k < 8; k++ {
			off, _ := v.sb.inodeOffset(c.First + k)
			b, err := v.read(off, int(v.sb.InodeSize))
			require.NoError(f, err)
			f.Add(b)
			seeds++
		}
	}))
	require.NotZero(f, seeds)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < int(v.sb.InodeSize) {
			return
		}
		i, err := v.sb.ParseInode(be.Uint64(b[152:]), b)
		if err != nil {
			return
		}
		_, _ = v.stat(i)
		_, _ = v.Xattrs(i)
		if i.Type() == TypeDir {
			ds, _ := v.ReadDir(i)
			for _, d := range ds {
				require.NotEmpty(t, d.Name)
				require.LessOrEqual(t, len(d.Name), 255)
			}
		}
		ext, err := v.fileExtents(i)
		for _, e := range ext {
			require.LessOrEqual(t, e.Physical+e.Length, uint64(v.sb.Size()), "%v", err)
		}
	})
}

// FuzzDirBlock: entries are inside the block and have names.
func FuzzDirBlock(f *testing.F) {
	sb := &Superblock{Version: 5, Ftype: true, BlockSize: 4096, BlockLog: 12}
	b := make([]byte, 4096)
	be.PutUint32(b, dirDataV5)
	be.PutUint64(b[dirHeadV5:], 131)
	b[dirHeadV5+8] = 3
	copy(b[dirHeadV5+9:], "abc\x01")
	be.PutUint16(b[dirHeadV5+16:], dirFreeTag)
	be.PutUint16(b[dirHeadV5+18:], uint16(4096-dirHeadV5-16))
	out, err := sb.ParseDirBlock(b, nil)
	require.NoError(f, err)
	require.Equal(f, []Dirent{{Name: "abc", Ino: 131, Type: 1}}, out)
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, v5 bool) {
		s := *sb
		if !v5 {
			s.Version = 4
		}
		out, _ := s.ParseDirBlock(b, nil)
		require.LessOrEqual(t, len(out), 4096/16)
		for _, d := range out {
			require.NotEmpty(t, d.Name)
		}
	})
}

// FuzzLog: any ring of log blocks is read to an end, and its transactions can be
// applied to a filesystem.
func FuzzLog(f *testing.F) {
	disk, v := fuzzDisk(f)
	start, _ := v.sb.blockOffset(v.sb.LogStart)
	const blocks = 512
	seed := make([]byte, blocks*basicBlock)
	_, err := disk.ReadAt(seed, start)
	require.NoError(f, err)
	f.Add(seed[:64*basicBlock])
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), blocks*basicBlock)/basicBlock*basicBlock]
		if len(b) < 2*basicBlock {
			return
		}
		l := &logRing{r: bytes.NewReader(b), blocks: uint32(len(b) / basicBlock), v2: true, uuid: v.sb.UUID}
		a := newAssembler(1 << 20)
		w := newView(fs.NewOverlay(uint64(disk.Bytes), fstest.Image{R: disk, Size: disk.Bytes}, nil))
		p := &replayer{v: &Volume{r: w, sb: v.sb}, w: w}
		at := makeLSN(1, 0)
		for used := uint32(0); used <= l.blocks; used++ {
			sealRecord(b, at.block())
			r, err := l.record(at)
			if err != nil {
				return
			}
			require.NotEqual(t, at, r.next)
			done, _ := a.feed(r, fs.Stamp{})
			require.LessOrEqual(t, a.held, a.limit)
			for _, tr := range done {
				_ = p.apply(tr)
			}
			at = r.next
		}
	})
}

// sealRecord mends the checksum of the record at block, so that damage inside it
// is met and not only noticed.
func sealRecord(b []byte, block uint32) {
	at := int(block) * basicBlock
	if at+basicBlock > len(b) || be.Uint32(b[at:]) != logMagic {
		return
	}
	h := b[at:]
	n, heads := int(be.Uint32(h[12:])), 1
	if size := be.Uint32(h[320:]); be.Uint32(h[8:])&2 != 0 && size > headerCycleSize && size <= maxRecord {
		heads = int((size + headerCycleSize - 1) / headerCycleSize)
	}
	if n < 0 || heads*basicBlock+n > len(h) || n > headerCycleSize {
		return
	}
	c := crc32.Update(0, castagnoli, h[:32])
	c = crc32.Update(c, castagnoli, []byte{0, 0, 0, 0})
	c = crc32.Update(c, castagnoli, h[36:logHeaderCRC64])
	le.PutUint32(h[32:], crc32.Update(c, castagnoli, h[heads*basicBlock:heads*basicBlock+n]))
}
