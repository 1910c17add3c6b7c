package fs

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// UTF16LE decodes little-endian UTF-16. Halves of surrogate pairs that stand alone, which
// NTFS, FAT and exFAT allow, become their three-byte form, so that different names stay different.
func UTF16LE(b []byte) string {
	out := make([]byte, 0, len(b))
	for k := 0; k+1 < len(b); k += 2 {
		c := rune(binary.LittleEndian.Uint16(b[k:]))
		if utf16.IsSurrogate(c) {
			if k+3 < len(b) {
				if r := utf16.DecodeRune(c, rune(binary.LittleEndian.Uint16(b[k+2:]))); r != utf8.RuneError {
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
