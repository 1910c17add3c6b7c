package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

func TestTimestampsBeyond2038AndBefore1970(t *testing.T) {
	// Table of Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps".
	for _, c := range []struct {
		sec, extra uint32
		want       int64
	}{
		{0x80000000, 0, -0x80000000}, {0xffffffff, 0, -1}, {0, 0, 0}, {0x7fffffff, 0, 0x7fffffff},
		{0x80000000, 1, 0x80000000}, {0, 1, 0x100000000}, {0x7fffffff, 3, 0x37fffffff},
	} {
		require.Equal(t, c.want*1e9, timestamp(c.sec, c.extra))
	}
	require.Equal(t, int64(1e9+5), timestamp(1, 5<<2))
}

func TestPosixACLForm(t *testing.T) {
	stored := []byte{1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0x10, 0, 4, 0, 0x20, 0, 4, 0}
	none := []byte{0xff, 0xff, 0xff, 0xff}
	var want []byte
	want = append(want, 2, 0, 0, 0)
	want = append(append(want, 1, 0, 6, 0), none...)
	want = append(want, 2, 0, 4, 0, 0xe8, 3, 0, 0)
	for _, e := range [][]byte{{4, 0, 4, 0}, {0x10, 0, 4, 0}, {0x20, 0, 4, 0}} {
		want = append(append(want, e...), none...)
	}
	require.Equal(t, want, posixACL(stored))
	require.Equal(t, []byte{9}, posixACL([]byte{9}), "what is no list stays as it is")
}

// number counts along with the blocks, as a logical block does.
type number uint64

func (n number) shift(k uint64) number { return n + number(k) }

// TestBlockMapAgainstFlatModel drives random operations into the map and a flat
// array.
func TestBlockMapAgainstFlatModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const size = 3*bucketBlocks + 100
	m := newBlockMap[number]()
	flat := make([]number, size)
	for step := range 4000 {
		start := r.Uint64N(size)
		n := min(r.Uint64N(300)+1, size-start)
		if step%50 == 0 {
			n = size - start
		}
		switch r.IntN(3) {
		case 0:
			m.clear(start, n)
			clear(flat[start : start+n])
		case 1: // continues whatever may lie before it
			v := number(start + 1)
			m.set(start, n, v)
			for i := range n {
				flat[start+i] = v + number(i)
			}
		case 2:
			v := number(r.Uint64N(1000) + 1)
			m.set(start, n, v)
			for i := range n {
				flat[start+i] = v + number(i)
			}
		}
		at := r.Uint64N(size)
		v, ok := m.get(at)
		require.Equal(t, flat[at] != 0, ok)
		require.Equal(t, flat[at], v)
		if step%200 == 0 {
			seen := uint64(0)
			m.each(0, size, func(b, n uint64, v number, ok bool) {
				require.Equal(t, seen, b)
				for i := range n {
					want := flat[b+i]
					if ok {
						require.Equal(t, want, v+number(i))
					} else {
						require.Zero(t, want)
					}
				}
				seen += n
			})
			require.Equal(t, uint64(size), seen)
		}
	}
}

func TestBlockMapJoinsWhatContinues(t *testing.T) {
	m := newBlockMap[number]()
	for i := range uint64(1000) {
		m.set(i, 1, number(i+7))
	}
	require.Equal(t, 1, m.spanCount())
}

func TestRemappedRanges(t *testing.T) {
	m := mapping{runs: []run{{0, 100, 10, false}, {20, 200, 5, true}}}
	got := remapped(m, []remap{{run: run{logical: 4, physical: 300, count: 3}}, {run: run{logical: 22, count: 10}, gone: true}})
	require.Equal(t, []run{{0, 100, 4, false}, {4, 300, 3, false}, {7, 107, 3, false}, {20, 200, 2, true}}, got.runs)
}

func TestDescriptorTags(t *testing.T) {
	b := make([]byte, 1024)
	j := &journal{}
	put := func(o int, v uint32) { be.PutUint32(b[o:], v) }
	put(12, 77)
	put(16, 0)  // flags 0: a UUID follows
	put(36, 78) // 12+8+16
	put(40, tagSameUUID|tagLast)
	require.Equal(t, []tag{{target: 77}, {target: 78, flags: tagSameUUID | tagLast}}, j.tags(b))
	for _, c := range []struct {
		features uint32
		size     int
	}{{0, 8}, {jbdIncompat64bit, 12}, {jbdIncompatCsumV2, 10}, {jbdIncompatCsumV2 | jbdIncompat64bit, 14}, {jbdIncompatCsumV3, 16}} {
		j.incompat = c.features
		require.Equal(t, c.size, j.tagSize())
	}
}

// memory is a device of bytes, all known.
type memory []byte

func (m memory) Size() uint64             { return uint64(len(m)) }
func (m memory) Known(off, n uint64) bool { return off+n <= m.Size() }
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m).ReadAt(p, off)
}

func testView(blocks uint64) *view {
	s := &super{blockSize: 1024, blocks: blocks, inodes: 100, inodeSize: 256, inodesPerGroup: 100, blocksPerGroup: 8192, clusterSize: 1, descSize: 32}
	return &view{super: s, dev: memory(make([]byte, blocks*1024)), budget: newBudget(s)}
}

// TestMappingLoopsEnd: an extent tree that contains itself is cut, not followed.
func TestMappingLoopsEnd(t *testing.T) {
	v := testView(64)
	node := v.dev.(memory)[10*1024 : 11*1024]
	header := func(b []byte, n, depth uint16) {
		le.PutUint16(b, extentMagic)
		le.PutUint16(b[2:], n)
		le.PutUint16(b[6:], depth)
	}
	header(node, 2, 3)
	le.PutUint32(node[12+4:], 10)
	le.PutUint32(node[24+4:], 10)
	raw := make([]byte, 256)
	le.PutUint16(raw, 0x8000)
	le.PutUint32(raw[0x20:], flagExtents)
	header(raw[0x28:], 1, 4)
	le.PutUint32(raw[0x28+12+4:], 10)
	i := v.decodeInode(12, raw)
	m := v.mapping(&i)
	require.ErrorIs(t, m.err, fs.ErrCorrupt)
	require.Equal(t, []uint64{10}, m.nodes)
}

// FuzzDirectory: entries lie within the block, and names are names.
func FuzzDirectory(f *testing.F) {
	b := make([]byte, 64)
	le.PutUint32(b, 12)
	le.PutUint16(b[4:], 64)
	b[6], b[7] = 3, 1
	copy(b[8:], "abc")
	f.Add(b, true)
	f.Add(b, false)
	f.Fuzz(func(t *testing.T, b []byte, typed bool) {
		s := &super{}
		if typed {
			s.incompat = incompatFiletype
		}
		es, _ := s.parseDir(b, nil)
		require.LessOrEqual(t, len(es)*12, len(b))
		for _, e := range es {
			require.NotZero(t, e.ino)
			require.NotEmpty(t, e.name)
			require.LessOrEqual(t, len(e.name), 255)
			require.True(t, bytes.Contains(b, []byte(e.name)))
		}
	})
}

// FuzzXattrs: values lie within what they were read from.
func FuzzXattrs(f *testing.F) {
	b := make([]byte, 96)
	b[0], b[1] = 1, 1
	le.PutUint16(b[2:], 60)
	le.PutUint32(b[8:], 4)
	b[16] = 'k'
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		xs, _ := parseXattrs(b, b)
		total := 0
		for _, x := range xs {
			total += 16 + len(x.name)
			require.LessOrEqual(t, len(x.value), len(b))
		}
		require.LessOrEqual(t, total, len(b)+len(xs)*3)
		posixACL(b)
	})
}

// FuzzInode: whatever a slot says, its mapping stays on the volume and its
// content has the size it says.
func FuzzInode(f *testing.F) {
	raw := make([]byte, 256)
	le.PutUint16(raw, 0x8000)
	le.PutUint16(raw[0x80:], 32)
	le.PutUint32(raw[4:], 5000)
	le.PutUint32(raw[0x20:], flagExtents)
	copy(raw[0x28:], []byte{0x0a, 0xf3, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 20, 0, 0, 0})
	f.Add(raw)
	old := bytes.Clone(raw)
	le.PutUint32(old[0x20:], 0)
	le.PutUint32(old[0x28+48:], 30)
	f.Add(old)
	inline := bytes.Clone(raw)
	le.PutUint32(inline[0x20:], flagInline)
	f.Add(inline)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 256 {
			return
		}
		v := testView(64)
		for n := range uint64(64) {
			copy(v.dev.(memory)[n*1024:], raw[0x28:256]) // every block is a node of sorts
		}
		i := v.decodeInode(12, raw[:256])
		m := v.mapping(&i)
		for _, r := range m.runs {
			require.LessOrEqual(t, r.physical+r.count, v.blocks)
			require.NotZero(t, r.count)
		}
		c := v.content(&i)
		require.Equal(t, i.size, c.Size())
		p := make([]byte, 3000)
		for _, off := range []int64{0, 1500, int64(i.size>>1) - 1500} {
			if off >= 0 {
				_, _ = c.ReadAt(p, off)
			}
		}
		_, _ = v.xattrs(&i)
		_ = v.attr(&i)
	})
}

// FuzzSuper: an accepted superblock satisfies what the arithmetic relies on.
func FuzzSuper(f *testing.F) {
	b := make([]byte, superSize)
	le.PutUint16(b[0x38:], superMagic)
	for off, v := range map[int]uint32{0: 128, 4: 8192, 0x14: 1, 0x20: 8192, 0x28: 128, 0x4c: 1, 0x54: 11} {
		le.PutUint32(b[off:], v)
	}
	le.PutUint16(b[0x58:], 256)
	f.Add(b, uint64(8<<20))
	f.Fuzz(func(t *testing.T, b []byte, size uint64) {
		if len(b) < superSize {
			return
		}
		s, err := decodeSuper(b[:superSize], size)
		if err != nil || s.incompat&incompatJournalDev != 0 {
			return
		}
		require.LessOrEqual(t, s.blocks*s.blockSize, size)
		require.Positive(t, s.groups)
		require.LessOrEqual(t, uint64(s.inodes), s.groups*s.inodesPerGroup)
		require.NotPanics(t, func() { _ = fmt.Sprint(s.info()) })
	})
}

// FuzzJournal: tags and revocations stay within their block.
func FuzzJournal(f *testing.F) {
	f.Add(make([]byte, 1024), uint32(0))
	f.Add(bytes.Repeat([]byte{0, 0, 0, 2}, 256), uint32(jbdIncompat64bit|jbdIncompatCsumV3))
	f.Fuzz(func(t *testing.T, b []byte, features uint32) {
		if len(b) < 1024 {
			return
		}
		j := &journal{incompat: features}
		require.LessOrEqual(t, len(j.tags(b[:1024])), 1024/8)
		require.LessOrEqual(t, len(j.revoked(b[:1024])), 1024/4)
		j.tailOK(b[:1024])
		j.commitOK(b[:1024])
		commitTime(b[:1024])
	})
}
