package vectors

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// TestDamageOfARealTape samples on a guest's memory, in two images, what the
// tests of format do exhaustively on small tapes.
func TestDamageOfARealTape(t *testing.T) {
	dir := need.Recording(t, "memory")
	var imgs [][]byte
	var out bytes.Buffer
	w, err := format.NewWriter(&out, format.WriterOptions{})
	require.NoError(t, err)
	mem, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory"})
	require.NoError(t, err)
	for i, n := range []string{"t1", "t2"} {
		img, err := os.ReadFile(filepath.Join(dir, "deb12-6.1."+n+".elf"))
		require.NoError(t, err)
		img = img[:len(img)/format.PageSize*format.PageSize]
		imgs = append(imgs, img)
		s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Stream: mem}, Parent: uint32(i), Pages: uint64(len(img) / format.PageSize)})
		require.NoError(t, err)
		for p := range len(img) / format.PageSize {
			require.NoError(t, s.Page(uint64(p), img[p*format.PageSize:][:format.PageSize]))
		}
		require.NoError(t, s.End(format.SnapshotEnd{}))
	}
	require.NoError(t, w.Seal())
	b := out.Bytes()
	require.Zero(t, lostPages(t, b, imgs))
	rng := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		at, bit := rng.IntN(len(b)), byte(1)<<rng.IntN(8)
		b[at] ^= bit
		v, err := format.Verify(bytes.NewReader(b), int64(len(b)), format.VerifyOptions{})
		require.NoError(t, err)
		require.Len(t, v.Damage, 1, "one chunk")
		lost := lostPages(t, b, imgs)
		t.Logf("byte %d: %d pages lost", at, lost)
		require.Less(t, lost, len(imgs[0])/format.PageSize/20, "one chunk of hundreds, and what refers to it")
		b[at] ^= bit
	}
	for range 4 {
		cut := b[:rng.IntN(len(b))]
		r, err := format.Open(bytes.NewReader(cut), int64(len(cut)), format.ReaderOptions{})
		require.NoError(t, err)
		require.False(t, r.Sealed())
		lostPages(t, cut, imgs)
	}
}

// lostPages reads all pages and counts those that cannot be had; one that is
// wrong fails the test.
func lostPages(t *testing.T, b []byte, imgs [][]byte) (lost int) {
	t.Helper()
	r, err := format.Open(bytes.NewReader(b), int64(len(b)), format.ReaderOptions{})
	require.NoError(t, err)
	page := make([]byte, format.PageSize)
	for i, img := range imgs {
		s, err := r.Snapshot(uint32(i + 1))
		if errors.Is(err, format.ErrNoSnapshot) {
			continue
		}
		require.NoError(t, err)
		for p := range len(img) / format.PageSize {
			if _, err := s.ReadPage(uint64(p), page); err != nil {
				lost++
			} else if !bytes.Equal(page, img[p*format.PageSize:][:format.PageSize]) {
				t.Fatalf("snapshot %d: page %d is wrong", i+1, p)
			}
		}
	}
	return lost
}
