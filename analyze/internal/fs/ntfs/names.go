package ntfs

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Kinds of names (namespaces).
const (
	nameDOS = 2 // the short name beside a long one

	unixEpoch = 116444736000000000 // 1970 in units of 100 ns since 1601
)

// utf16le decodes UTF-16. Halves of surrogate pairs that stand alone, which NTFS
// allows, become their three-byte form, so that different names stay different.
func utf16le(b []byte) string {
	out := make([]byte, 0, len(b))
	for k := 0; k+1 < len(b); k += 2 {
		c := rune(le.Uint16(b[k:]))
		if utf16.IsSurrogate(c) {
			if k+3 < len(b) {
				if r := utf16.DecodeRune(c, rune(le.Uint16(b[k+2:]))); r != utf8.RuneError {
					out = utf8.AppendRune(out, r)
					k += 2
					continue
				}
			}
			out = append(out, 0xe0|byte(c>>12), 0x80|byte(c>>6)&0x3f, 0x80|byte(c)&0x3f)
			continue
		}
		out = utf8.AppendRune(out, c)
	}
	return string(out)
}

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
	return fileName{parent: reference(le.Uint64(b)), kind: b[65], name: utf16le(b[66 : 66+2*int(b[64])])}, nil
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
