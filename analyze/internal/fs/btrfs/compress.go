package btrfs

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// decompress returns up to n bytes. Data that ends early is followed by zeros in
// the file, as the kernel has it; the caller's buffer is zeroed already.
func decompress(c compression, raw []byte, n, sector int) ([]byte, error) {
	if n > maxCompressed {
		return nil, fmt.Errorf("%d bytes uncompressed: %w", n, fs.ErrCorrupt)
	}
	switch c {
	case compressZlib:
		r, err := zlib.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("zlib: %w: %w", err, fs.ErrCorrupt)
		}
		return inflate("zlib", r, n)
	case compressZstd:
		// The stored bytes are padded to a sector, so only one frame is read.
		r, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(maxCompressed*2), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w: %w", err, fs.ErrCorrupt)
		}
		defer r.Close()
		return inflate("zstd", r, n)
	case compressLZO:
		return lzoSegments(raw, n, sector)
	}
	return nil, fmt.Errorf("compression %d: %w", c, fs.ErrUnsupported)
}

func inflate(name string, r io.Reader, n int) ([]byte, error) {
	out := make([]byte, n)
	k, err := io.ReadFull(r, out)
	if k > 0 && errors.Is(err, zstd.ErrMagicMismatch) {
		err = nil // past the frame: the padding
	}
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: %w: %w", name, err, fs.ErrCorrupt)
	}
	return out[:k], nil
}
