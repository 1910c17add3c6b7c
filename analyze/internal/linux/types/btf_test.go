package types_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/types"
)

// builder writes BTF type by type (Documentation/bpf/btf.rst).
type builder struct {
	types, strings []byte
	n              uint32
}

func (b *builder) name(s string) uint32 {
	if b.strings == nil {
		b.strings = []byte{0}
	}
	if s == "" {
		return 0
	}
	o := uint32(len(b.strings))
	b.strings = append(append(b.strings, s...), 0)
	return o
}

// add appends a type and returns its id.
func (b *builder) add(name string, kind, vlen uint32, flag bool, size uint32, rest ...uint32) uint32 {
	info := kind<<24 | vlen
	if flag {
		info |= 1 << 31
	}
	for _, w := range append([]uint32{b.name(name), info, size}, rest...) {
		b.types = binary.LittleEndian.AppendUint32(b.types, w)
	}
	b.n++
	return b.n
}

func (b *builder) bytes() []byte {
	h := []byte{0x9f, 0xeb, 1, 0}
	for _, w := range []uint32{24, 0, uint32(len(b.types)), uint32(len(b.types)), uint32(len(b.strings))} {
		h = binary.LittleEndian.AppendUint32(h, w)
	}
	return append(append(h, b.types...), b.strings...)
}

// sample is struct outer { u32 a; union { u64 b; struct inner c; }; u32 d:3, e:5;
// struct inner f[4]; void *g; } with struct inner { s16 x; u16 y; }.
func sample() []byte {
	b := &builder{}
	u32 := b.add("u32", 1, 0, false, 4, 32)
	u64 := b.add("u64", 1, 0, false, 8, 64)
	s16 := b.add("s16", 1, 0, false, 2, 1<<24|16)
	inner := b.add("inner", 4, 2, false, 4, b.name("x"), s16, 0, b.name("y"), u32, 16)
	union := b.add("", 5, 2, false, 8, b.name("b"), u64, 0, b.name("c"), inner, 0)
	alias := b.add("inner_t", 8, 0, false, inner)
	konst := b.add("", 10, 0, false, alias)
	array := b.add("", 3, 0, false, 0, konst, u32, 4)
	ptr := b.add("", 2, 0, false, 0)
	b.add("outer", 4, 6, true, 48,
		b.name("a"), u32, 0, 0, union, 64,
		b.name("d"), u32, 3<<24|128, b.name("e"), u32, 5<<24|131,
		b.name("f"), array, 160, b.name("g"), ptr, 320)
	return b.bytes()
}

func TestBTFFields(t *testing.T) {
	x, err := types.ParseBTF(sample())
	require.NoError(t, err)
	s := x.Struct("outer")
	require.NotNil(t, s)
	require.EqualValues(t, 48, s.Size)
	for path, want := range map[string]struct{ offset, size, shift, bits uint64 }{
		"a": {0, 4, 0, 0}, "b": {8, 8, 0, 0}, "c.x": {8, 2, 0, 0}, "c.y": {10, 4, 0, 0},
		"d": {16, 4, 0, 3}, "e": {16, 4, 3, 5}, "f": {20, 16, 0, 0}, "f.3.x": {32, 2, 0, 0}, "g": {40, 8, 0, 0},
	} {
		f := s.Field(path)
		require.NotNil(t, f, path)
		require.Equal(t, want.offset, f.Offset, path)
		require.Equal(t, want.size, f.Size, path)
		require.Equal(t, want.shift, f.BitShift, path)
		require.Equal(t, want.bits, f.BitSize, path)
	}
	require.True(t, s.Field("c.x").Signed)
	require.True(t, s.Field("g").Pointer)
	require.EqualValues(t, 4, s.Field("f").Count)
	for _, path := range []string{"", "z", "a.b", "f.4", "f.x", "f.0.z", "g.x"} {
		require.Nil(t, s.Field(path), path)
	}
	require.Nil(t, x.Struct("missing"))
	require.ErrorContains(t, types.Require(x, "outer.a", "outer.z", "nothing"), "outer.z, nothing")
	require.NoError(t, types.Require(x, "outer.c.x", "inner"))
}

func TestBTFRefuses(t *testing.T) {
	good := sample()
	for name, change := range map[string]func([]byte) []byte{
		"empty":         func(b []byte) []byte { return nil },
		"magic":         func(b []byte) []byte { b[0] = 0; return b },
		"version":       func(b []byte) []byte { b[2] = 9; return b },
		"header length": func(b []byte) []byte { b[4] = 8; return b },
		"type length":   func(b []byte) []byte { b[15] = 0x7f; return b },
		"string length": func(b []byte) []byte { b[20]++; return b },
		"strings cut":   func(b []byte) []byte { b[20]--; return b },
		"kind":          func(b []byte) []byte { b[24+7] = 0x1f; return b },
		"member count":  func(b []byte) []byte { b[24+16*3+4] = 0xff; return b },
	} {
		_, err := types.ParseBTF(change(append([]byte(nil), good...)))
		require.Error(t, err, name)
	}
}

// Each of 30 structures holds the next one twice without a name: there are 2^30 ways
// to the last.
func TestAnonymousMembersRepeated(t *testing.T) {
	b := &builder{}
	const last = 30
	for i := uint32(1); i < last; i++ {
		b.add(fmt.Sprint("s", i), 4, 2, false, 8, 0, i+1, 0, 0, i+1, 32)
	}
	u32 := last + 1
	b.add("end", 4, 1, false, 4, b.name("x"), uint32(u32), 0)
	b.add("u32", 1, 0, false, 4, 32)
	x, err := types.ParseBTF(b.bytes())
	require.NoError(t, err)
	require.EqualValues(t, 0, x.Struct("s1").Field("x").Offset)
	require.Nil(t, x.Struct("s1").Field("y"))
}

// FuzzBTF: whatever parses can be asked for every member of every structure,
// and gives the same answer twice.
func FuzzBTF(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := types.ParseBTF(b)
		if err != nil {
			return
		}
		y, err := types.ParseBTF(b)
		require.NoError(t, err)
		for _, name := range []string{"outer", "inner", "a", "b", "x"} {
			s, r := x.Struct(name), y.Struct(name)
			require.Equal(t, s == nil, r == nil)
			if s == nil {
				continue
			}
			for _, m := range s.Members {
				if m.Name == "" {
					continue
				}
				p, q := s.Field(m.Name), r.Field(m.Name)
				require.Equal(t, p == nil, q == nil)
				if p != nil {
					require.Equal(t, p.Offset, q.Offset)
					require.Less(t, p.BitShift, uint64(8))
				}
				s.Field(m.Name + ".x.y.0.1")
			}
		}
	})
}
