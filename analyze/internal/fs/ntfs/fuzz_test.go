package ntfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// FuzzRecord: a record that is accepted has its attributes inside it, and what
// they say can be decoded or refused.
func FuzzRecord(f *testing.F) {
	disk := fstest.LoadImage(f, testdata, "tree")
	v, err := OpenVolume(disk)
	require.NoError(f, err)
	for num := uint64(0); num < v.records(); num += 7 {
		b, err := v.raw(num)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != int(v.boot.RecordSize) {
			return
		}
		r, err := parseRecord(30, b)
		if err != nil {
			return
		}
		size := 0
		for _, a := range r.attrs {
			size += len(a.value) + len(a.runs)
		}
		require.LessOrEqual(t, size, len(b))
		x := &file{record: r}
		_ = x.assemble(v, r.attrs)
		for _, s := range x.streams {
			x.attr(s)
			v.entries(x, x.attr(s), s)
			for _, e := range v.extents(s) {
				if !s.resident {
					require.LessOrEqual(t, e.Physical+e.Length, v.boot.Size)
				}
			}
		}
	})
}

// FuzzLZNT1: uncompressing stays inside the unit.
func FuzzLZNT1(f *testing.F) {
	f.Add([]byte{0x04, 0xb0, 0x02, 'a', 0x05, 0x00, 'b'})
	out := make([]byte, 4096)
	require.NoError(f, lznt1([]byte{0x03, 0xb0, 0x02, 'a', 0x05, 0x00}, out))
	require.Equal(f, "aaaaaaaaa\x00", string(out[:10]))
	f.Fuzz(func(t *testing.T, b []byte) {
		out := make([]byte, 16384+8)
		_ = lznt1(b, out[:16384])
		require.True(t, zero(out[16384:]))
	})
}

func TestRuns(t *testing.T) {
	// Three runs: 0x30 clusters at 0x60, a hole of 0x10, 0x20 at 0x60-0x10.
	got, err := decodeRuns(nil, []byte{0x11, 0x30, 0x60, 0x01, 0x10, 0x11, 0x20, 0xf0, 0x00}, 5, 1000)
	require.NoError(t, err)
	require.Equal(t, []run{{vcn: 5, lcn: 0x60, count: 0x30}, {vcn: 0x35, count: 0x10, sparse: true}, {vcn: 0x45, lcn: 0x50, count: 0x20}}, got)
	_, err = decodeRuns(nil, []byte{0x11, 0x30, 0x60}, 0, 0x60)
	require.Error(t, err, "beyond the volume")
	_, err = decodeRuns(nil, []byte{0x11, 0x80, 0x60}, 0, 1000)
	require.Error(t, err, "a negative length")
}
