package files

import (
	"bytes"
	"encoding/binary"
	"math"
)

// histogram counts bytes.
type histogram struct {
	count [256]uint64
	total uint64
}

func (h *histogram) add(b []byte) {
	h.total += uint64(len(b))
	// Four tables, so that equal neighbours need not wait for each other's sum.
	var t [4][256]uint32
	for ; len(b) >= 8; b = b[8:] {
		v := binary.LittleEndian.Uint64(b)
		t[0][byte(v)]++
		t[1][byte(v>>8)]++
		t[2][byte(v>>16)]++
		t[3][byte(v>>24)]++
		t[0][byte(v>>32)]++
		t[1][byte(v>>40)]++
		t[2][byte(v>>48)]++
		t[3][byte(v>>56)]++
	}
	for _, c := range b {
		t[0][c]++
	}
	for i := range h.count {
		h.count[i] += uint64(t[0][i]) + uint64(t[1][i]) + uint64(t[2][i]) + uint64(t[3][i])
	}
}

// entropy is Shannon's, in bits per byte: 0 for one value, 8 for noise. It is
// rounded to a thousandth so that it prints alike on every machine.
func (h *histogram) entropy() float64 {
	if h.total == 0 {
		return 0
	}
	var sum float64
	for _, n := range h.count {
		if n > 0 {
			p := float64(n) / float64(h.total)
			sum -= p * math.Log2(p)
		}
	}
	return math.Abs(math.Round(sum*1000) / 1000)
}

// signatures are beginnings of files, the longest of those that match wins.
var signatures = []struct {
	name  string
	off   int
	bytes string
}{
	{"elf", 0, "\x7fELF"}, {"pe", 0, "MZ"}, {"script", 0, "#!"}, {"pdf", 0, "%PDF-"}, {"zip", 0, "PK\x03\x04"},
	{"ole2", 0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}, {"gzip", 0, "\x1f\x8b\x08"}, {"bzip2", 0, "BZh"},
	{"xz", 0, "\xfd7zXZ\x00"}, {"zstd", 0, "\x28\xb5\x2f\xfd"}, {"7z", 0, "7z\xbc\xaf\x27\x1c"}, {"rar", 0, "Rar!\x1a\x07"},
	{"png", 0, "\x89PNG\r\n\x1a\n"}, {"jpeg", 0, "\xff\xd8\xff"}, {"gif", 0, "GIF8"}, {"tar", 257, "ustar"},
	{"sqlite", 0, "SQLite format 3\x00"}, {"java-class", 0, "\xca\xfe\xba\xbe"}, {"wasm", 0, "\x00asm"},
	{"mp4", 4, "ftyp"}, {"riff", 0, "RIFF"}, {"ogg", 0, "OggS"}, {"mp3", 0, "ID3"}, {"rtf", 0, "{\\rtf"},
	{"xml", 0, "<?xml"}, {"pgp", 0, "-----BEGIN PGP"}, {"pem", 0, "-----BEGIN "}, {"luks", 0, "LUKS\xba\xbe"},
	{"age", 0, "age-encryption.org/"}, {"openssl-salted", 0, "Salted__"}, {"utmp", 0, "\x07\x00\x00\x00"},
}

// compressed reports whether a format looks like noise by its nature.
func compressed(magic string) bool {
	switch magic {
	case "zip", "gzip", "bzip2", "xz", "zstd", "7z", "rar", "png", "jpeg", "gif", "mp4", "ogg", "mp3", "riff", "pdf":
		return true
	}
	return false
}

// magic names the format a file begins with; "text" for readable text, "" for
// what is not recognised.
func magic(b []byte) string {
	best, length := "", 0
	for _, s := range signatures {
		if len(s.bytes) > length && len(b) >= s.off+len(s.bytes) && string(b[s.off:s.off+len(s.bytes)]) == s.bytes {
			best, length = s.name, len(s.bytes)
		}
	}
	if best == "" && len(b) > 0 {
		head := b[:min(len(b), 4096)]
		if i := bytes.LastIndexByte(head, '\n'); len(b) > len(head) && i > 0 {
			head = head[:i] // do not cut a rune
		}
		if isText(head) {
			return "text"
		}
	}
	return best
}
