package ntfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Kinds of names (namespaces).
const (
	nameDOS = 2 // the short name beside a long one

	unixEpoch = 116444736000000000 // 1970 in units of 100 ns since 1601
)

// fileName is one name of a file, from its record or from a directory index.
type fileName struct {
	parent reference
	name   string
	kind   uint8
}

func parseName(b []byte) (fileName, error) {
	if len(b) < 66 || 66+2*int(b[64]) > len(b) {
		return fileName{}, fmt.Errorf("file name attribute of %d bytes: %w", len(b), fs.ErrCorrupt)
	}
	return fileName{parent: reference(le.Uint64(b)), kind: b[65], name: fs.UTF16LE(b[66 : 66+2*int(b[64])])}, nil
}

// filetime converts 100 ns since 1601 to ns since 1970. Times beyond 1677 to
// 2262 are cut off at those limits; 0 is a time not set.
func filetime(v uint64) int64 {
	if v == 0 {
		return fs.NoTime
	}
	t := int64(v - unixEpoch)
	switch {
	case v > 1<<63 || t > (1<<63-1)/100:
		return 1<<63 - 1
	case t < -(1<<63-1)/100:
		return fs.NoTime + 1
	}
	return t * 100
}
