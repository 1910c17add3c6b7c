package format

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Compressor makes zstd frames (RFC 8878) of at most MaxChunk bytes of content;
// *zstd.Encoder is one. EncodeAll appends a frame of src to dst. It is used by one
// goroutine at a time.
type Compressor interface {
	EncodeAll(src, dst []byte) []byte
}

// encodeBody compresses a body into dst, or leaves it when compression gains nothing.
func encodeBody(e Compressor, plain, dst []byte) ([]byte, codec) {
	if len(plain) == 0 {
		return nil, codecNone
	}
	out := e.EncodeAll(plain, dst[:0])
	if len(out) >= len(plain) {
		return plain, codecNone
	}
	return out, codecZstd
}

// window is how far back a frame looks: as far as a chunk of the usual size.
const window = 1 << 20

func newEncoder() (Compressor, error) {
	// SpeedFastest: two thirds of the speed of not compressing at all is lost
	// with the next level, for 3 % of size (SPEC.md §4.2). No content checksum:
	// the chunk has one over the stored bytes.
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(window))
}

var errSize = errors.New("body does not have the size its header says")

// zstdPool keeps decoders: one costs about a megabyte to make.
var zstdPool = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxChunk),
		zstd.WithDecoderMaxWindow(MaxChunk), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return err
	}
	return d
}}

// decodeSlack is what the decoder wants of room after the content, in bytes, to copy
// without looking for the end with every match (compressedBlockOverAlloc in its source).
const decodeSlack = 16

// decodeBody undoes encodeBody, into dst where that has room. It allocates size
// bytes and decodeSlack, never more. What is stored uncompressed is returned as it lies there.
func decodeBody(c codec, stored []byte, size uint32, dst []byte) ([]byte, error) {
	switch c {
	case codecNone:
		if len(stored) != int(size) {
			return nil, errSize
		}
		return stored, nil
	case codecZstd:
		v := zstdPool.Get()
		d, ok := v.(*zstd.Decoder)
		if !ok {
			return nil, v.(error)
		}
		defer zstdPool.Put(d)
		if cap(dst) < int(size)+decodeSlack {
			dst = make([]byte, 0, int(size)+decodeSlack)
		}
		out, err := d.DecodeAll(stored, dst[:0:int(size)+decodeSlack])
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		if len(out) != int(size) {
			return nil, errSize
		}
		return out, nil
	}
	return nil, fmt.Errorf("codec %d: %w", c, ErrUnsupported)
}
