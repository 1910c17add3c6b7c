package fs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// holedImage knows every page but those in missing.
type holedImage struct {
	data    []byte
	missing map[uint64]bool
}

func (h *holedImage) Extents() []format.Extent {
	var out []format.Extent
	for n := uint64(0); n < uint64(len(h.data)+pageSize-1)/pageSize; n++ {
		if !h.missing[n] {
			out = append(out, format.Extent{Start: n, Count: 1})
		}
	}
	return out
}

func (h *holedImage) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	clear(dst[:pageSize])
	if h.missing[n] {
		return format.PageMissing, nil
	}
	if n*pageSize >= uint64(len(h.data)) {
		return format.PageAbsent, nil
	}
	copy(dst, h.data[n*pageSize:])
	return format.PageData, nil
}

// scratchBuffer is a Scratch in memory.
type scratchBuffer struct{ b []byte }

func (s *scratchBuffer) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(s.b)) {
		return 0, io.EOF
	}
	return copy(p, s.b[off:]), nil
}

func (s *scratchBuffer) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(s.b) {
		s.b = append(s.b, make([]byte, need-len(s.b))...)
	}
	return copy(s.b[off:], p), nil
}

// TestOverlayAgainstFlatModel drives random operations into the overlay and into
// two flat arrays, content and knowledge, and compares every byte and every
// statement about what is known.
func TestOverlayAgainstFlatModel(t *testing.T) {
	for name, scratch := range map[string]Scratch{"heap": nil, "scratch": &scratchBuffer{}} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			const size = 64*pageSize + 1536 // the disk ends inside a page
			data, known := make([]byte, size), bytes.Repeat([]byte{1}, size)
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			img := &holedImage{data: bytes.Clone(data), missing: map[uint64]bool{3: true, 7: true, 8: true, 40: true}}
			for n := range img.missing {
				clear(known[n*pageSize : (n+1)*pageSize])
				clear(data[n*pageSize : (n+1)*pageSize])
			}
			o := NewOverlay(size, img, scratch)
			for range 3000 {
				off := r.Uint64N(size/512) * 512
				n := min(r.Uint64N(40)*512, size-off)
				w := &Write{Op: Op(r.IntN(4)), Off: off, Len: n}
				switch w.Op {
				case OpWrite:
					w.Data = make([]byte, n)
					for i := range w.Data {
						w.Data[i] = byte(r.Uint32())
					}
					copy(data[off:], w.Data)
				default:
					clear(data[off : off+n])
				}
				mark := byte(1)
				if w.Op == OpUnknown {
					mark = 0
				}
				for i := off; i < off+n; i++ {
					known[i] = mark
				}
				require.NoError(t, o.Apply(w))
				at, k := r.Uint64N(size), r.Uint64N(5*pageSize)
				checkRange(t, o, data, known, at, min(k, size-at))
			}
			checkRange(t, o, data, known, 0, size)
			checkImage(t, o, data, known)
		})
	}
}

func checkRange(t *testing.T, o *Overlay, data, known []byte, at, k uint64) {
	t.Helper()
	p := make([]byte, k)
	_, err := o.ReadAt(p, int64(at))
	first := sectorsUnknown(known, at, k)
	require.Equal(t, first < 0, o.Known(at, k))
	if first >= 0 {
		require.True(t, IsUnknown(err), "read of %d+%d: %v", at, k, err)
	} else if !errors.Is(err, io.EOF) {
		require.NoError(t, err)
	}
	for i := range p {
		if known[at+uint64(i)] == 1 && data[at+uint64(i)] != p[i] {
			require.Failf(t, "wrong byte", "%d: %d, want %d", at+uint64(i), p[i], data[at+uint64(i)])
		}
	}
}

// sectorsUnknown finds the first unknown byte at sector granularity.
func sectorsUnknown(known []byte, at, k uint64) int {
	for i := at; i < at+k; i++ {
		if known[i] == 0 {
			return int(i)
		}
	}
	return -1
}

func checkImage(t *testing.T, o *Overlay, data, known []byte) {
	t.Helper()
	in := map[uint64]bool{}
	for _, e := range o.Extents() {
		for n := e.Start; n < e.Start+e.Count; n++ {
			in[n] = true
		}
	}
	var p [pageSize]byte
	for n := uint64(0); n*pageSize < uint64(len(data)); n++ {
		end := min((n+1)*pageSize, uint64(len(data)))
		st, err := o.ReadPage(n, p[:])
		require.NoError(t, err)
		whole := sectorsUnknown(known, n*pageSize, end-n*pageSize) < 0
		require.Equal(t, whole, st == format.PageData, "page %d", n)
		require.Equal(t, whole, in[n], "page %d in Extents", n)
		if whole {
			require.Equal(t, data[n*pageSize:end], p[:end-n*pageSize])
		}
	}
	st, err := o.ReadPage(uint64(len(data)), p[:])
	require.NoError(t, err)
	require.Equal(t, format.PageAbsent, st)
}

// counted is a Scratch that counts the calls.
type counted struct {
	scratchBuffer
	reads, writes int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.scratchBuffer.ReadAt(p, off)
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.writes++
	return c.scratchBuffer.WriteAt(p, off)
}

// TestOverlayUsesItsScratchInRuns: pages that were written together are written and read at
// once, again too; one in their midst that is kept elsewhere is not.
func TestOverlayUsesItsScratchInRuns(t *testing.T) {
	s := &counted{}
	o := NewOverlay(64*pageSize, nil, s)
	data := make([]byte, 16*pageSize)
	for i := range data {
		data[i] = byte(i / 7)
	}
	write := func(page, n uint64) {
		require.NoError(t, o.Apply(&Write{Off: page * pageSize, Len: n * pageSize, Data: data[:n*pageSize]}))
	}
	got := make([]byte, len(data))
	read := func(page uint64) {
		_, err := o.ReadAt(got, int64(page*pageSize))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
	}
	write(8, 16)
	write(8, 16)
	read(8)
	require.Equal(t, [2]int{1, 2}, [2]int{s.reads, s.writes})
	write(40, 1) // the second of what is written next lies apart
	write(39, 16)
	read(39)
	require.Equal(t, [2]int{1 + 3, 2 + 1 + 3}, [2]int{s.reads, s.writes})
}

func TestLayerShowsReplacedBlocks(t *testing.T) {
	const bs = 1024
	data := bytes.Repeat([]byte{7}, 16*bs)
	o := NewOverlay(uint64(len(data)), &holedImage{data: data, missing: map[uint64]bool{2: true}}, nil)
	l := NewLayer(o, bs)
	l.Put(1, bytes.Repeat([]byte{9}, bs))
	l.Put(8, bytes.Repeat([]byte{5}, bs)) // within the page the base does not know
	p := make([]byte, 3*bs)
	_, err := l.ReadAt(p, 512)
	require.NoError(t, err)
	want := append(append(bytes.Repeat([]byte{7}, 512), bytes.Repeat([]byte{9}, bs)...), bytes.Repeat([]byte{7}, bs+512)...)
	require.Equal(t, want, p)
	require.True(t, l.Known(8*bs, bs))
	require.False(t, l.Known(8*bs, bs+1))
	l.Drop(1)
	_, err = l.ReadAt(p[:bs], bs)
	require.NoError(t, err)
	require.Equal(t, data[:bs], p[:bs])
}

func TestMappedReadsHolesUnwrittenAndUnknown(t *testing.T) {
	data := make([]byte, 8*pageSize)
	for i := range data {
		data[i] = byte(i/pageSize) + 1
	}
	o := NewOverlay(uint64(len(data)), &holedImage{data: data, missing: map[uint64]bool{5: true}}, nil)
	m := NewMapped(o, 5*pageSize+100, []Extent{
		{Logical: 3 * pageSize, Physical: 2 * pageSize, Length: pageSize},
		{Logical: 0, Physical: pageSize, Length: pageSize},
		{Logical: 2 * pageSize, Physical: 7 * pageSize, Length: pageSize, State: ExtentUnwritten},
		{Logical: 4 * pageSize, Physical: 5 * pageSize, Length: pageSize},
	})
	p := make([]byte, 4*pageSize)
	_, err := m.ReadAt(p, 0)
	require.NoError(t, err)
	want := make([]byte, 4*pageSize)
	copy(want, bytes.Repeat([]byte{2}, pageSize))
	copy(want[3*pageSize:], bytes.Repeat([]byte{3}, pageSize))
	require.Equal(t, want, p)
	_, err = m.ReadAt(p[:pageSize], 4*pageSize)
	require.True(t, IsUnknown(err))
	k, err := m.ReadAt(p, 5*pageSize)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, 100, k)
	require.Equal(t, make([]byte, 100), p[:100])
}
