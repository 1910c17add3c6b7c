package fat

import "github.com/xentape/xentape/analyze/internal/fs"

// Types of exFAT entries in use.
const (
	exFile   = 0x85
	exStream = 0xc0
	exName   = 0xc1
	exLabel  = 0x83

	exNoChain = 1 << 1

	maxSecondary = 18 // a stream and the entries of a name of 255 characters
)

// exStamp decodes an exFAT time stamp; with a valid offset it is true time, else
// it is shown as if it were UTC.
func exStamp(v uint32, tenms, zone uint8) int64 {
	t := stamp(uint16(v>>16), uint16(v), min(tenms, 199))
	if t != fs.NoTime && zone&0x80 != 0 {
		quarters := int64(int8(zone<<1) >> 1)
		t -= quarters * 15 * 60 * 1e9
	}
	return t
}

// parseEx turns the raw entries of an exFAT directory into files: sets of a file
// entry, a stream entry and names, bound by a checksum.
func parseEx(raw []placed) (out []entry, label string) {
	for k := 0; k < len(raw); k++ {
		b := raw[k].b
		switch b[0] {
		case 0:
			return out, label
		case exLabel:
			label = fs.UTF16LE(b[2:][:2*min(b[1], 11)])
		case exFile:
			n := int(b[1])
			if n < 2 || n > maxSecondary || k+n >= len(raw) {
				continue
			}
			if e, ok := parseExSet(raw[k : k+n+1]); ok {
				out = append(out, e)
				k += n
			}
		}
	}
	return out, label
}

func parseExSet(set []placed) (entry, bool) {
	f, s := set[0].b, set[1].b
	if s[0] != exStream || exSum(set) != le.Uint16(f[2:]) {
		return entry{}, false
	}
	e := entry{
		loc: set[0].at / entrySize, attrs: le.Uint16(f[4:]), first: uint64(le.Uint32(s[20:])),
		size: le.Uint64(s[24:]), valid: le.Uint64(s[8:]), inRow: s[1]&exNoChain != 0,
		born: exStamp(le.Uint32(f[8:]), f[20], f[22]), changed: exStamp(le.Uint32(f[12:]), f[21], f[23]),
		read: exStamp(le.Uint32(f[16:]), 0, f[24]),
	}
	if e.size>>62 != 0 || e.valid > e.size {
		return entry{}, false
	}
	var name []byte
	for _, p := range set[2:] {
		if p.b[0] != exName {
			break
		}
		name = append(name, p.b[2:entrySize]...)
	}
	n := 2 * int(s[3])
	if n == 0 || n > len(name) {
		return entry{}, false
	}
	e.name = fs.UTF16LE(name[:n])
	return e, true
}

// exSum is the checksum of a set, its own field left out.
func exSum(set []placed) uint16 {
	var sum uint16
	for k, p := range set {
		for at, c := range p.b {
			if k == 0 && (at == 2 || at == 3) {
				continue
			}
			sum = sum<<15 | sum>>1
			sum += uint16(c)
		}
	}
	return sum
}
