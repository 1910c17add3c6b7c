package btrfs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

const fuzzNode = 4096

// fuzzSuper is a superblock that agrees with whatever block is fuzzed.
func fuzzSuper(b []byte) *Superblock {
	s := &Superblock{NodeSize: fuzzNode, SectorSize: 4096, Csum: csumCRC32C}
	copy(s.FSID[:], b[32:48])
	return s
}

func reseal(b []byte) {
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[csumArea:], castagnoli))
}

// FuzzNode: of a block that is accepted, every item lies inside it, keys ascend,
// and every item can be decoded or refused.
func FuzzNode(f *testing.F) {
	leaf := make([]byte, fuzzNode)
	leaf[96] = 1
	binary.LittleEndian.PutUint64(leaf[headerSize:], 256)
	leaf[headerSize+8] = typeInode
	binary.LittleEndian.PutUint32(leaf[headerSize+keySize:], 1000)
	binary.LittleEndian.PutUint32(leaf[headerSize+keySize+4:], inodeSize)
	f.Add(leaf)
	inner := bytes.Clone(leaf)
	inner[100] = 1
	f.Add(inner)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < fuzzNode {
			return
		}
		b = b[:fuzzNode]
		s := fuzzSuper(b)
		reseal(b)
		n, err := s.parseNode(b, root{addr: le.Uint64(b[48:]), gen: le.Uint64(b[80:]), level: b[100]})
		if err != nil {
			return
		}
		id := fs.ID{Space: 5, Num: 256}
		var i inode
		l := treeLog{inodes: map[uint64]*logInode{}}
		for k := 0; k < n.n; k++ {
			if k > 0 {
				require.True(t, n.key(k-1).less(n.key(k)))
			}
			if n.level > 0 {
				require.Equal(t, n.level-1, n.child(k).level)
				continue
			}
			i.item(id, n.key(k), n.item(k))
			l.item(n.key(k), n.item(k))
			parseRoot(n.key(k), n.item(k))
			if c, size, err := parseChunk(n.key(k).off, n.item(k), 1); err == nil {
				require.LessOrEqual(t, size, len(n.item(k)))
				require.NotZero(t, c.length)
			}
		}
		for _, e := range i.extents {
			require.LessOrEqual(t, e.length, uint64(1)<<63)
		}
	})
}

// FuzzDecompress: no stream gives more than was asked for.
func FuzzDecompress(f *testing.F) {
	f.Add(uint8(compressLZO), []byte{13, 0, 0, 0, 5, 0, 0, 0, 18, 'a', 17, 0, 0})
	f.Add(uint8(compressZlib), []byte{0x78, 0x9c, 0x4b, 0x04, 0x00, 0x00, 0x62, 0x00, 0x62})
	f.Add(uint8(compressZstd), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x00, 0x09, 0x00, 0x00, 'a', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, c uint8, raw []byte) {
		out, err := decompress(compression(c%4), raw, 8192, 4096)
		if err == nil {
			require.LessOrEqual(t, len(out), 8192)
		}
	})
}

func FuzzSuperblock(f *testing.F) {
	disk := fstest.LoadImage(f, testdata, "small.base")
	b := make([]byte, superSize)
	_, err := disk.ReadAt(b, superOffset)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= superSize {
			b = b[:superSize]
			reseal(b)
		}
		s, err := ParseSuperblock(b)
		if err != nil {
			return
		}
		require.NotZero(t, s.NodeSize)
		m := &chunkMap{}
		_ = m.sysChunks(s.sysChunks, s.DevID)
		for k := 1; k < len(m.list); k++ {
			require.LessOrEqual(t, m.list[k-1].start+m.list[k-1].length, m.list[k].start, "chunks do not overlap")
		}
	})
}

// TestResealedMutants damages tree blocks and mends their checksums, so that the
// damage is met where it hurts.
func TestResealedMutants(t *testing.T) {
	disk := fstest.LoadImage(t, testdata, "default")
	var sb Superblock
	raw := make([]byte, superSize)
	_, err := disk.ReadAt(raw, superOffset)
	require.NoError(t, err)
	s, err := ParseSuperblock(raw)
	require.NoError(t, err)
	sb = *s
	var blocks []int64
	for off := int64(0); off < disk.Bytes; off += 4096 {
		h := make([]byte, headerSize)
		_, err := disk.ReadAt(h, off)
		if err == nil && [16]byte(h[32:48]) == sb.FSID && off != superOffset && off%int64(sb.NodeSize) == 0 {
			blocks = append(blocks, off/4096)
		}
	}
	require.NotEmpty(t, blocks)
	for seed := uint64(1); seed <= 100; seed++ {
		c := disk.Clone()
		c.Mutate(seed, blocks)
		for _, p := range blocks {
			n := make([]byte, sb.NodeSize)
			_, err := c.ReadAt(n, p*4096)
			require.NoError(t, err)
			reseal(n)
			_, err = c.WriteAt(n, p*4096)
			require.NoError(t, err)
		}
		fstest.Within(t, "mutant", func() {
			fstest.Visit(Open, fs.NewOverlay(uint64(c.Bytes), fstest.Image{R: c, Size: c.Bytes}, nil))
		})
	}
}

// TestXXH64 checks the specification's own values.
func TestXXH64(t *testing.T) {
	require.Equal(t, uint64(0xef46db3751d8e999), xxh64(nil))
	require.Equal(t, uint64(0x44bc2cf5ad770999), xxh64([]byte("abc")))
	require.Equal(t, uint64(0x0b242d361fda71bc), xxh64([]byte("The quick brown fox jumps over the lazy dog")))
}
