package imagetest

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/xentape/xentape/format"
)

// Mutate returns an image that differs from s as script says. Each ten bytes
// are one change of a word: two say what to write, eight where. Words become
// random, zero, or another word of the image, and frames disappear: broken bytes,
// torn lists, wrong pointers and loops. only limits the changes to some frames,
// when it is not nil.
func (s *Sparse) Mutate(script []byte, only []uint64) *Sparse {
	c := &Sparse{Header: s.Header, Frames: maps.Clone(s.Frames)}
	frames := slices.Clone(only)
	if only == nil {
		frames = slices.Sorted(maps.Keys(s.Frames))
	}
	own := map[uint64]bool{}
	word := func(at uint64) (uint64, int) {
		return frames[at>>9%uint64(len(frames))], int(at & 511 * 8)
	}
	for ; len(script) >= 10; script = script[10:] {
		f, o := word(binary.LittleEndian.Uint64(script[2:]))
		if !own[f] {
			own[f] = true
			p := *c.Frames[f]
			c.Frames[f] = &p
		}
		p := c.Frames[f]
		var v uint64
		switch script[0] & 7 {
		case 0: // zero
		case 1:
			v = binary.LittleEndian.Uint64(script[2:]) * 0x9e3779b97f4a7c15
		case 2, 3: // some other word
			g, q := word(binary.LittleEndian.Uint64(script[2:]) * 0x9e3779b97f4a7c15)
			v = binary.LittleEndian.Uint64(c.Frames[g][q:])
		case 4: // the word before
			v = binary.LittleEndian.Uint64(p[max(0, o-8):])
		case 5: // one bit
			v = binary.LittleEndian.Uint64(p[o:]) ^ 1<<(script[1]&63)
		case 6: // a little further
			v = binary.LittleEndian.Uint64(p[o:]) + uint64(script[1])*8
		case 7: // the frame is gone
			delete(c.Frames, f)
			frames = slices.DeleteFunc(frames, func(x uint64) bool { return x == f })
			if len(frames) == 0 {
				return c
			}
			own[f] = false
			continue
		}
		binary.LittleEndian.PutUint64(p[o:], v)
	}
	return c
}

var _ format.Image = (*Sparse)(nil)
