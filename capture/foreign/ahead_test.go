package foreign

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// counted counts the reads that reach the file.
type counted struct {
	io.ReaderAt
	n int
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.n++
	return c.ReaderAt.ReadAt(p, off)
}

// TestAhead: whatever is read, in whatever order, is what the file gives, its end
// included; from front to back it takes few reads.
func TestAhead(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	file := make([]byte, 3*aheadSize+1234)
	for i := range file {
		file[i] = byte(draw.Uint32())
	}
	under := &counted{ReaderAt: bytes.NewReader(file)}
	a := &ahead{r: under}
	at, p := int64(0), make([]byte, 4096)
	for ; ; at += int64(len(p)) {
		n, err := a.ReadAt(p, at)
		require.Equal(t, file[at:min(at+4096, int64(len(file)))], p[:n])
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.Less(t, under.n, 8)

	for range 2000 {
		off, b := int64(draw.IntN(len(file)+4096)), make([]byte, draw.IntN(9000))
		if draw.IntN(2) == 0 {
			off = a.next // and sometimes on from there
		}
		want := make([]byte, len(b))
		n, err := bytes.NewReader(file).ReadAt(want, off)
		m, bad := a.ReadAt(b, off)
		require.Equal(t, want[:n], b[:m])
		require.Equal(t, err == nil, bad == nil)
		if errors.Is(err, io.EOF) {
			require.ErrorIs(t, bad, io.EOF)
		}
	}
}
