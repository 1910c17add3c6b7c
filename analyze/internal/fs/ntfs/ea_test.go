package ntfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// eaBytes lays out $EA after MS-FSCC 2.4.16.
func eaBytes(xs ...fs.Xattr) []byte {
	var out []byte
	for k, x := range xs {
		b := append(make([]byte, 8, 64), x.Name...)
		b = append(append(b, 0), x.Value...)
		b[5] = byte(len(x.Name))
		le.PutUint16(b[6:], uint16(len(x.Value)))
		if k < len(xs)-1 {
			b = append(b, make([]byte, -len(b)&3)...)
			le.PutUint32(b, uint32(len(b)))
		}
		out = append(out, b...)
	}
	return out
}

func TestEA(t *testing.T) {
	want := []fs.Xattr{{Name: "$LXDEV", Value: []byte{1, 1, 0, 0, 0x40, 0xe2, 1, 0}}, {Name: "user.k", Value: []byte{}}, {Name: "user.z", Value: []byte("value")}}
	b := eaBytes(want[2], want[0], want[1])
	got, err := parseEA(b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	f := &file{ea: b}
	a := fs.Attr{Type: fs.TypeCharDevice}
	f.unix(&a)
	require.Equal(t, device(257, 123456), a.Rdev)

	for cut := 1; cut < len(b); cut++ {
		got, err := parseEA(b[:cut])
		if err != nil {
			require.ErrorIs(t, err, fs.ErrCorrupt)
		}
		require.LessOrEqual(t, len(got), 2)
	}
	le.PutUint32(b, 4) // back into itself
	_, err = parseEA(b)
	require.ErrorIs(t, err, fs.ErrCorrupt)
}

// FuzzEA: what is decoded and encoded again decodes to the same.
func FuzzEA(f *testing.F) {
	f.Add(eaBytes(fs.Xattr{Name: "user.a", Value: []byte("one")}, fs.Xattr{Name: "$LXMOD", Value: make([]byte, 4)}))
	f.Add(eaBytes(fs.Xattr{Name: "A"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxEA {
			return
		}
		got, _ := parseEA(b)
		again, err := parseEA(eaBytes(got...))
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}
