package kallsyms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// digits are the tokens 0x30 to 0x39: the characters themselves are always
// used, so their tokens are they.
var digits = []byte("0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00")

// maxSteps bounds the walks of Locate over a hostile image.
const maxSteps = 64 << 20

// Locate finds the table in a copy of the kernel's image, which starts at
// virtual address base, by its structure alone. It returns every way the parts
// can be put together, best first: the alignment of the offsets is not
// decidable here.
func Locate(image []byte, base uint64) ([]Location, error) {
	l := &locator{image: image, steps: maxSteps}
	for o := 0; ; {
		i := bytes.Index(image[o:], digits)
		if i < 0 {
			return nil, errors.New("no kallsyms token table in the kernel's image")
		}
		table, index, ok := l.tokens(o + i)
		o += i + 1
		if !ok {
			continue
		}
		locs, err := l.symbols(table, index)
		if err != nil {
			return nil, err
		}
		for i := range locs {
			locs[i].rebase(base)
		}
		if len(locs) > 0 {
			return locs, nil
		}
	}
}

func (l *Location) rebase(base uint64) {
	l.NumSyms += base
	l.Names += base
	l.TokenTable += base
	l.TokenIndex += base
	l.Offsets += base
	if l.RelativeBase != 0 {
		l.RelativeBase += base
	}
}

type locator struct {
	image []byte
	steps int
}

func (l *locator) u32(o int) int {
	if o < 0 || o+4 > len(l.image) {
		return -1
	}
	return int(binary.LittleEndian.Uint32(l.image[o:]))
}

func (l *locator) u64(o int) uint64 {
	if o < 0 || o+8 > len(l.image) {
		return 0
	}
	return binary.LittleEndian.Uint64(l.image[o:])
}

// tokens takes the place of token "0" and finds the start of the table, 48
// tokens before, and the index that must follow it.
func (l *locator) tokens(zero int) (table, index int, ok bool) {
	table = zero
	for range 48 {
		j := table - 2
		for j >= 0 && l.image[j] != 0 && table-j < 64 {
			j--
		}
		if j < 0 || table-j >= 64 {
			return 0, 0, false
		}
		table = j + 1
	}
	var starts [256]int
	end := table
	for i := range starts {
		starts[i] = end - table
		z := bytes.IndexByte(l.image[end:min(len(l.image), end+256)], 0)
		if z < 0 {
			return 0, 0, false
		}
		end += z + 1
	}
	for index = (end + 3) &^ 3; index < end+64 && index+512 <= len(l.image); index += 4 {
		same := true
		for i := 0; same && i < len(starts); i++ {
			same = int(binary.LittleEndian.Uint16(l.image[index+2*i:])) == starts[i]
		}
		if same {
			return table, index, true
		}
	}
	return 0, 0, false
}

// Between num_syms and the token table are the names and then the markers, the
// offset of every 256th name: words of 4 bytes, and to 4.19 of 8.
const (
	group     = 256
	maxBefore = 32 << 20    // of the token table
	maxGroup  = group * 512 // bytes of the names of one marker: each is less than 512 (KSYM_NAME_LEN)
)

// symbols looks back from the token table for the markers, which tell how many names
// there are, and before them for that number.
func (l *locator) symbols(table, index int) ([]Location, error) {
	for at := table &^ 3; at >= max(0, table-maxBefore); at -= 4 {
		if l.u32(at) != 0 {
			continue // the first marker's
		}
		for _, size := range []int{4, 8} {
			n, last := l.markers(at, table, size)
			if n < minSyms/group {
				continue
			}
			loc, ok := l.names(at, n, last, l.u32(at+size))
			if l.steps <= 0 {
				return nil, fmt.Errorf("no kallsyms names found within %d steps", maxSteps)
			}
			if ok {
				loc.TokenTable, loc.TokenIndex = uint64(table), uint64(index)
				return l.offsets(loc, l.u32(int(loc.NumSyms))), nil
			}
		}
	}
	return nil, nil
}

// markers counts the markers from at on, and returns the last.
func (l *locator) markers(at, end, size int) (n, last int) {
	for n = 1; at+n*size+size <= end; n++ {
		v := l.u32(at + n*size)
		if size == 8 && l.u32(at+n*size+4) != 0 || v < last+group || v > last+maxGroup {
			break
		}
		last = v
	}
	return n, last
}

// names finds num_syms and the names before markers: n of them, of which the second
// is first and the last is last.
func (l *locator) names(markers, n, last, first int) (Location, bool) {
	for at := (markers - last - 4) &^ 3; at >= max(0, markers-last-maxGroup); at -= 4 {
		if l.steps--; l.steps <= 0 {
			break
		}
		count := l.u32(at)
		if count > maxSyms || (count+group-1)/group != n {
			continue
		}
		for _, names := range []int{(at + 8) &^ 7, at + 4} {
			if l.namesFit(names, markers, count, first) {
				return Location{NumSyms: uint64(at), Names: uint64(names)}, true
			}
		}
	}
	return Location{}, false
}

// namesFit walks n names from o to where the markers start.
func (l *locator) namesFit(o, end, n, first int) bool {
	const padding = 8
	at := o
	for i := range n {
		l.steps--
		tokens, next, ok := entry(l.image[:end], at)
		if !ok || len(tokens) == 0 || l.steps <= 0 {
			return false
		}
		if at = next; i == group-1 && at-o != first {
			return false
		}
	}
	return end-at < padding
}

// offsets lists where kallsyms_offsets may be: before num_syms and followed by
// the base (to 6.3), after the token index with a base (6.4–6.19), or there
// without one (7.0 on), on a boundary of 4 or 8.
func (l *locator) offsets(loc Location, n int) []Location {
	var out []Location
	add := func(offsets int, base uint64) {
		if offsets > 0 && offsets+4*n <= len(l.image) {
			c := loc
			c.Offsets, c.RelativeBase = uint64(offsets), base
			out = append(out, c)
		}
	}
	kernel := func(v uint64) bool { return v>>31 == 0x1ffffffff }
	if b := int(loc.NumSyms) - 8; kernel(l.u64(b)) {
		add((b-4*n)&^7, uint64(b))
	}
	for _, align := range []int{8, 4} {
		o := (int(loc.TokenIndex) + 512 + align - 1) &^ (align - 1)
		if b := (o + 4*n + 7) &^ 7; kernel(l.u64(b)) {
			add(o, uint64(b))
		}
	}
	for _, align := range []int{4, 8} {
		add((int(loc.TokenIndex)+512+align-1)&^(align-1), 0)
	}
	return out
}
