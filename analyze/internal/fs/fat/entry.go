package fat

import (
	"time"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const (
	entrySize = 32

	attrReadOnly = 0x01
	attrVolume   = 0x08
	attrDir      = 0x10
	attrLong     = 0x0f
)

// entry is one file or directory as its directory describes it.
type entry struct {
	loc     uint64 // place on the volume of its main entry, in units of 32 bytes
	name    string
	attrs   uint16
	first   uint64 // cluster; 0 for an empty file
	size    uint64 // bytes; of a FAT directory 0
	valid   uint64 // bytes written; the rest reads as zeros (exFAT)
	inRow   bool   // exFAT: not chained through the table
	born    int64  // ns; fs.NoTime where not kept
	changed int64
	read    int64
}

func (e *entry) dir() bool { return e.attrs&attrDir != 0 }

// placed is a 32-byte entry with its place.
type placed struct {
	b  []byte
	at uint64 // byte offset on the volume
}

// stamp decodes a FAT date and time as if it were UTC; tenms is 0 to 199.
func stamp(date, clock uint16, tenms uint8) int64 {
	if date == 0 {
		return fs.NoTime
	}
	day, month, year := int(date&31), time.Month(date>>5&15), 1980+int(date>>9)
	t := time.Date(year, month, day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
	return t.UnixNano() + int64(tenms)*10e6
}

// parseFAT turns the raw entries of a FAT directory into files. It stops at the
// first entry that was never used.
func parseFAT(raw []placed, is32 bool) []entry {
	var out []entry
	var long longName
	for _, p := range raw {
		b := p.b
		switch {
		case b[0] == 0:
			return out
		case b[0] == 0xe5:
			long.reset()
			continue
		case b[11]&0x3f == attrLong:
			long.add(b)
			continue
		case b[11]&attrVolume != 0:
			long.reset()
			continue
		}
		e := entry{
			loc: p.at / entrySize, attrs: uint16(b[11]), size: uint64(le.Uint32(b[28:])), first: uint64(le.Uint16(b[26:])),
			born: stamp(le.Uint16(b[16:]), le.Uint16(b[14:]), min(b[13], 199)), read: stamp(le.Uint16(b[18:]), 0, 0),
			changed: stamp(le.Uint16(b[24:]), le.Uint16(b[22:]), 0),
		}
		if is32 {
			e.first |= uint64(le.Uint16(b[20:])) << 16
		}
		e.valid = e.size
		if e.dir() {
			e.size = 0
		}
		short := shortName(b)
		e.name = short
		if n, ok := long.take(b); ok {
			e.name = n
		}
		if short != "." && short != ".." {
			out = append(out, e)
		}
	}
	return out
}

// longName gathers the pieces that stand before a short entry, last piece first.
type longName struct {
	units []byte // UTF-16
	want  byte   // number of the piece that is due; 0 = complete
	sum   byte
	ok    bool
}

func (l *longName) reset() { *l = longName{} }

func (l *longName) add(b []byte) {
	n := b[0] & 0x1f
	if b[0]&0x40 != 0 {
		*l = longName{want: n, sum: b[13], ok: n > 0 && n <= 20}
		l.units = make([]byte, int(n)*26)
	}
	if !l.ok || n != l.want || b[13] != l.sum || n == 0 {
		l.reset()
		return
	}
	u := l.units[int(n-1)*26:]
	copy(u, b[1:11])
	copy(u[10:], b[14:26])
	copy(u[22:], b[28:32])
	l.want--
}

// take returns the long name of short entry b, when the pieces are its own.
func (l *longName) take(b []byte) (name string, ok bool) {
	defer l.reset()
	if !l.ok || l.want != 0 {
		return "", false
	}
	var sum byte
	for _, c := range b[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if sum != l.sum {
		return "", false
	}
	n := 0
	for n < len(l.units) && le.Uint16(l.units[n:]) != 0 && le.Uint16(l.units[n:]) != 0xffff {
		n += 2
	}
	return fs.UTF16LE(l.units[:n]), n > 0
}

// shortName decodes an 8.3 name; two bits say that a part is shown in lower case.
func shortName(b []byte) string {
	part := func(p []byte, lower bool) []rune {
		n := len(p)
		for n > 0 && p[n-1] == ' ' {
			n--
		}
		var out []rune
		for _, c := range p[:n] {
			r := rune(c)
			if c >= 0x80 {
				r = cp437[c-0x80]
			} else if lower && c >= 'A' && c <= 'Z' {
				r += 'a' - 'A'
			}
			out = append(out, r)
		}
		return out
	}
	base := append([]byte(nil), b[:8]...)
	if base[0] == 0x05 {
		base[0] = 0xe5 // the mark of a deleted entry, as a letter
	}
	n := part(base, b[12]&8 != 0)
	if x := part(b[8:11], b[12]&16 != 0); len(x) > 0 {
		n = append(append(n, '.'), x...)
	}
	return string(n)
}

// cp437 is the upper half of the code page of the IBM PC, which Linux takes FAT
// short names to be in by default.
var cp437 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")
