package paging_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/internal/linux/paging"
	"github.com/xentape/xentape/analyze/internal/linux/phys"
	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// tables builds page tables, frame by frame.
type tables struct {
	s      *imagetest.Sparse
	levels int
	root   uint64
	next   uint64
	frame  func(uint64) uint64 // what an entry holds for a frame
}

func newTables(levels int) *tables {
	t := &tables{s: &imagetest.Sparse{Frames: map[uint64]*imagetest.Page{}}, levels: levels, next: 16, frame: func(f uint64) uint64 { return f }}
	t.root = t.page()
	return t
}

func (t *tables) page() uint64 {
	t.next++
	t.s.Frames[t.next] = new(imagetest.Page)
	return t.next
}

// set writes the entry of va at a level, making the tables above it.
func (t *tables) set(va uint64, level int, entry uint64) {
	table := t.root
	for l := t.levels; ; l-- {
		at := table<<12 | va>>(12+9*(l-1))&511*8
		if l == level {
			t.s.Put(at, binary.LittleEndian.AppendUint64(nil, entry))
			return
		}
		if t.s.U64(at) == 0 {
			t.s.Put(at, binary.LittleEndian.AppendUint64(nil, t.frame(t.page())<<12|0x67))
		}
		v := t.s.U64(at) >> 12
		for f := range t.s.Frames {
			if t.frame(f) == v {
				table = f
			}
		}
	}
}

func (t *tables) space(test *testing.T) *paging.Space {
	m, err := phys.New(t.s)
	require.NoError(test, err)
	return paging.New(m, t.root<<12, t.levels)
}

func TestTranslate(t *testing.T) {
	for _, levels := range []int{4, 5} {
		b := newTables(levels)
		data := b.page()
		copy(b.s.Frames[data][0x123:], "hello\x00")
		b.set(0xffff888000001000, 1, data<<12|0x8000000000000063) // NX
		b.set(0xffff888000200000, 2, 0x40000000|0xe3)             // 2 MiB
		b.set(0xffff888040000000, 3, 0x80000000|0xe3)             // 1 GiB
		b.set(0x400000, 1, ^(data<<12)&0x000ffffffffff000|0x100)  // PROT_NONE, inverted
		b.set(0x401000, 1, 0x00fffffffff0dead&^0x101)             // swap entry
		s := b.space(t)
		for va, want := range map[uint64]uint64{
			0xffff888000001123: data<<12 | 0x123,
			0xffff888000312345: 0x40112345,
			0xffff888056789abc: 0x96789abc,
			0x400008:           data<<12 | 8,
		} {
			pa, err := s.Translate(va)
			require.NoError(t, err)
			require.Equal(t, want, pa, "%#x", va)
		}
		for va, want := range map[uint64]paging.Reason{
			0xffff888000003000: paging.NotMapped, 0x401000: paging.PagedOut, 0x8123456789abcdef: paging.NonCanonical,
		} {
			_, err := s.Translate(va)
			var f *paging.Fault
			require.ErrorAs(t, err, &f)
			require.Equal(t, want, f.Reason, "%#x", va)
		}
		str, err := s.CString(0xffff888000001123, 100)
		require.NoError(t, err)
		require.Equal(t, "hello", str)
		str, err = s.CString(0xffff888000001123, 3)
		require.NoError(t, err)
		require.Equal(t, "hel", str)
		n, err := s.Read(0xffff888000001ff0, make([]byte, 64))
		require.Error(t, err)
		require.Equal(t, 16, n)
		_, err = s.U64(0xffff888000312345)
		var f *paging.Fault
		require.ErrorAs(t, err, &f)
		require.Equal(t, paging.NoFrame, f.Reason)
	}
}

// The page tables of a PV guest hold machine frames.
func TestTranslatePV(t *testing.T) {
	b := newTables(4)
	b.frame = func(f uint64) uint64 { return 0x100000 - f*3 }
	data := b.page()
	b.set(0xffff888000001000, 1, b.frame(data)<<12|0x63)
	b.set(0xffff888000002000, 1, 0x7777<<12|0x63)
	var p2m []byte
	for f := range uint64(64) {
		m := ^uint64(0)
		if b.s.Frames[f] != nil {
			m = b.frame(f)
		}
		p2m = binary.LittleEndian.AppendUint64(p2m, m)
	}
	b.s.Blobs = map[string][]byte{"xen/p2m": p2m}
	b.s.Header.Info.Guest = replay.GuestPV
	s := b.space(t)
	pa, err := s.Translate(0xffff888000001456)
	require.NoError(t, err)
	require.Equal(t, data<<12|0x456, pa)
	_, err = s.Translate(0xffff888000002000)
	var f *paging.Fault
	require.ErrorAs(t, err, &f)
	require.Equal(t, paging.NoMachine, f.Reason)

	b.s.Blobs = nil
	_, err = phys.New(b.s)
	require.ErrorIs(t, err, phys.ErrNoP2M)
}

// A further snapshot keeps what did not change and reads what did.
func TestAdvance(t *testing.T) {
	b := newTables(4)
	data, same := b.page(), b.page()
	b.set(0x1000, 1, data<<12|0x67)
	b.set(0x2000, 1, same<<12|0x67)
	m, err := phys.New(b.s)
	require.NoError(t, err)
	s := paging.New(m, b.root<<12, 4)
	v, err := s.U64(0x1000)
	require.NoError(t, err)
	require.Zero(t, v)
	c := b.s.Clone()
	c.Prev = b.s
	c.Put(data<<12, []byte{7})
	changed, known, err := m.Advance(c)
	s.Flush()
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, []format.Extent{{Start: data, Count: 1}}, changed)
	v, err = s.U64(0x1000)
	require.NoError(t, err)
	require.EqualValues(t, 7, v)
	v, err = s.U64(0x2000)
	require.NoError(t, err)
	require.Zero(t, v)
}
