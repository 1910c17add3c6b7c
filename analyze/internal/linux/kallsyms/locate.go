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

// symbols finds num_syms and names before the token table: a count whose names,
// when walked, end where the markers start.
func (l *locator) symbols(table, index int) ([]Location, error) {
	for at := max(0, table-32<<20) &^ 3; at < table; at += 4 {
		n := l.u32(at)
		if n < minSyms || n > maxSyms || n > (table-at)/2 {
			continue
		}
		for _, names := range []int{(at + 8) &^ 7, at + 4} {
			ok := l.namesFit(names, table, n)
			if l.steps <= 0 {
				return nil, fmt.Errorf("no kallsyms names found within %d steps", maxSteps)
			}
			if ok {
				return l.offsets(Location{NumSyms: uint64(at), Names: uint64(names), TokenTable: uint64(table), TokenIndex: uint64(index)}, n), nil
			}
		}
	}
	return nil, nil
}

// namesFit walks n names from o; the markers, u32 offsets of every 256th name,
// follow them.
func (l *locator) namesFit(o, end, n int) bool {
	at, first := o, 0
	for i := range n {
		l.steps--
		tokens, next, ok := entry(l.image[:end], at)
		if !ok || len(tokens) == 0 || l.steps <= 0 {
			return false
		}
		at = next
		if i == 255 {
			first = at - o
		}
	}
	for m := (at + 3) &^ 3; m < at+64 && m+8 < end; m += 4 {
		if l.u32(m) == 0 && l.u32(m+4) == first {
			return true
		}
	}
	return false
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
