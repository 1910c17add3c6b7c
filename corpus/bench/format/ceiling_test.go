package format

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	tape "github.com/xentape/xentape/format"
)

// bare does with a tape's chunks what no reader can do without, once for each, and
// nothing else: SHA-256 of what is stored, and decompression; with contents, also
// SHA-256 of the pages, as Verify needs it. What it takes is the least that reading
// with verification can take with these two on this machine. Of a tape it knows
// what SPEC.md §3.1 says of chunks, and where a meta has its codec.
func bare(b testing.TB, t []byte, contents bool) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(b, err)
	defer d.Close()
	const pages, footer = 0x84, 0x8f
	le := binary.LittleEndian
	var sum byte
	plain := make([]byte, 0, tape.MaxChunk)
	for at := len(tape.Magic); at < len(t); {
		typ, meta, stored := t[at+4], int(le.Uint16(t[at+6:])), int(le.Uint32(t[at+32:]))
		body := t[at+48+meta:][:stored]
		s := sha256.Sum256(body)
		sum ^= s[0]
		if meta > 0 && typ != footer && t[at+48] == 1 {
			if body, err = d.DecodeAll(body, plain[:0]); err != nil {
				b.Fatal(err)
			}
			require.Len(b, body, int(le.Uint32(t[at+36:])))
		}
		for ; contents && typ == pages && len(body) >= PageSize; body = body[PageSize:] {
			s := sha256.Sum256(body[:PageSize])
			sum ^= s[0]
		}
		at = (at + 48 + meta + stored + 7) &^ 7
	}
	sink = sum
}

// sink keeps what is computed from being left out.
var sink byte

// counting counts the bytes that are read of a tape.
type counting struct {
	io.ReaderAt
	n int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}
