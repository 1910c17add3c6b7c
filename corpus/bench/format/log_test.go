package format

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// logChunk is the bytes of pages in a chunk of the log.
const logChunk = 1 << 20

// writeLog is the peer: the pages that are not zero in chunks of 1 MiB, compressed
// with the same codec at the same level on as many cores, each with its length
// and checksum. It stores nothing once, hashes nothing and proves nothing, and
// does not even say which page is which.
func writeLog(b testing.TB, w io.Writer, workers int, imgs ...[]byte) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(workers), zstd.WithEncoderCRC(false))
	require.NoError(b, err)
	queue := make(chan chan []byte, 2*workers)
	done := make(chan error)
	go func() {
		var err error
		for c := range queue {
			if werr := writeLogChunk(w, <-c); werr != nil {
				err = werr
			}
		}
		done <- err
	}()
	slots := make(chan struct{}, workers)
	flush := func(chunk []byte) {
		c := make(chan []byte, 1)
		slots <- struct{}{}
		queue <- c
		go func() {
			c <- e.EncodeAll(chunk, make([]byte, 0, len(chunk)/2))
			<-slots
		}()
	}
	zero := make([]byte, PageSize)
	chunk := make([]byte, 0, logChunk)
	for _, img := range imgs {
		for o := 0; o < len(img); o += PageSize {
			p := img[o : o+PageSize]
			if bytes.Equal(p, zero) {
				continue
			}
			if chunk = append(chunk, p...); len(chunk) == logChunk {
				flush(chunk)
				chunk = make([]byte, 0, logChunk)
			}
		}
	}
	if len(chunk) > 0 {
		flush(chunk)
	}
	close(queue)
	require.NoError(b, <-done)
}

func writeLogChunk(w io.Writer, out []byte) error {
	var h [8]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(out)))
	binary.LittleEndian.PutUint32(h[4:], crc32.ChecksumIEEE(out))
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	_, err := w.Write(out)
	return err
}

func readLog(b testing.TB, r io.Reader) (n int64) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(b, err)
	defer d.Close()
	var h [8]byte
	buf, page := make([]byte, 2*logChunk), make([]byte, 2*logChunk)
	for {
		if _, err := io.ReadFull(r, h[:]); err == io.EOF {
			return n
		}
		in := buf[:binary.LittleEndian.Uint32(h[:])]
		_, err := io.ReadFull(r, in)
		require.NoError(b, err)
		require.Equal(b, binary.LittleEndian.Uint32(h[4:]), crc32.ChecksumIEEE(in))
		out, err := d.DecodeAll(in, page[:0])
		require.NoError(b, err)
		n += int64(len(out))
	}
}
