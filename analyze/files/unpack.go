package files

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd frame may have its reader keep, as zstd(1) does
// (--memory, 128 MiB); log rotation packs with far less.
const maxWindow = 128 << 20

// packing is how a file is compressed, by its name: "" if it is not, or in no way that
// log rotation compresses.
func packing(name string) string {
	switch ext := path.Ext(name); ext {
	case ".gz", ".bz2", ".xz", ".zst":
		return ext
	}
	return ""
}

// hashUnpacked hashes the first n bytes of what a reader holds when it is unpacked, or
// all if there are fewer; got is how many there were. What follows them is not unpacked:
// little may stand for much.
func hashUnpacked(r io.Reader, packing string, n uint64) (sum string, got uint64, err error) {
	if r, err = decompress(bufio.NewReader(r), packing); err != nil {
		return "", 0, err
	}
	if c, ok := r.(*zstd.Decoder); ok {
		defer c.Close()
	}
	h := sha256.New()
	k, err := io.CopyN(h, r, int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", uint64(k), err
	}
	return hex.EncodeToString(h.Sum(nil)), uint64(k), nil
}

func decompress(r io.Reader, packing string) (io.Reader, error) {
	switch packing {
	case "":
		return r, nil
	case ".gz":
		return gzip.NewReader(r)
	case ".bz2":
		return bzip2.NewReader(r), nil
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	}
	return nil, fmt.Errorf("there is nothing here to unpack %s with", packing)
}
