package btrfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// lzoSegments uncompresses what fs/btrfs/lzo.c writes: the total length, then one
// length and LZO1X stream for each sector of the file. A length never crosses a
// sector of the stored bytes: fewer than 4 left are padding.
func lzoSegments(b []byte, n, sector int) ([]byte, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("lzo: %d bytes: %w", len(b), fs.ErrCorrupt)
	}
	total := uint64(le.Uint32(b))
	if total > uint64(len(b)) || total < 4 {
		return nil, fmt.Errorf("lzo: total length %d of %d: %w", total, len(b), fs.ErrCorrupt)
	}
	b = b[:total]
	out := make([]byte, 0, n)
	for at := 4; at < len(b) && len(out) < n; {
		if left := sector - at%sector; left < 4 {
			at += left
			continue
		}
		if at+4 > len(b) {
			return nil, fmt.Errorf("lzo: segment length is cut off: %w", fs.ErrCorrupt)
		}
		l := uint64(le.Uint32(b[at:]))
		at += 4
		if l == 0 || l > uint64(len(b)-at) {
			return nil, fmt.Errorf("lzo: segment of %d bytes at %d: %w", l, at, fs.ErrCorrupt)
		}
		var err error
		if out, err = lzo1x(b[at:at+int(l)], out, min(len(out)+sector, n)); err != nil {
			return nil, err
		}
		at += int(l)
	}
	return out, nil
}

// lzoReader reads the compressed side of an LZO1X stream.
type lzoReader struct {
	b  []byte
	at int
}

func (r *lzoReader) byte() (int, bool) {
	if r.at >= len(r.b) {
		return 0, false
	}
	r.at++
	return int(r.b[r.at-1]), true
}

// count reads a length: given t, or when t is 0 a chain of zero bytes worth 255
// each and one more byte, on top of base.
func (r *lzoReader) count(t, base int) (int, bool) {
	if t != 0 {
		return t, true
	}
	for n := base; ; n += 255 {
		c, ok := r.byte()
		if !ok || n > maxCompressed {
			return 0, false
		}
		if c != 0 {
			return n + c, true
		}
	}
}

// lzo1x appends the uncompressed bytes of one stream to out, at most up to
// length limit (Documentation/staging/lzo.rst, version 0 streams).
func lzo1x(b, out []byte, limit int) ([]byte, error) {
	r := &lzoReader{b: b}
	start := len(out)
	bad := func() ([]byte, error) {
		return nil, fmt.Errorf("lzo: stream at byte %d: %w", r.at, fs.ErrCorrupt)
	}
	literals := func(n int) bool {
		if n > len(r.b)-r.at || len(out)+n > limit {
			return false
		}
		out = append(out, r.b[r.at:r.at+n]...)
		r.at += n
		return true
	}
	state := 0 // literals copied just before: 0 none, 1–3 after a match, 4 a run
	if len(b) > 0 && b[0] > 17 {
		r.at = 1
		n := int(b[0]) - 17
		if !literals(n) {
			return bad()
		}
		state = min(n, 4)
	}
	for {
		t, ok := r.byte()
		if !ok {
			return bad()
		}
		if t < 16 && state == 0 {
			n, ok := r.count(t, 15)
			if !ok || !literals(n+3) {
				return bad()
			}
			state = 4
			continue
		}
		dist, n, next, ok := r.match(t, state)
		if !ok {
			return bad()
		}
		if n == 0 { // end of stream
			return out, nil
		}
		if dist > len(out)-start || len(out)+n > limit {
			return bad()
		}
		for k := 0; k < n; k++ {
			out = append(out, out[len(out)-dist])
		}
		if !literals(next) {
			return bad()
		}
		state = next
	}
}

// match decodes one instruction that copies n bytes from dist back and then next
// literals. n is 0 at the end of the stream.
func (r *lzoReader) match(t, state int) (dist, n, next int, ok bool) {
	switch {
	case t >= 64:
		c, ok := r.byte()
		return 1 + t>>2&7 + c<<3, t>>5 + 1, t & 3, ok
	case t >= 32:
		n, ok = r.count(t&31, 31)
		d, ok2 := r.pair()
		return 1 + d>>2, n + 2, d & 3, ok && ok2
	case t >= 16:
		n, ok = r.count(t&7, 7)
		d, ok2 := r.pair()
		dist = (t & 8) << 11
		dist += d >> 2
		if dist == 0 {
			return 0, 0, 0, ok && ok2
		}
		return dist + 0x4000, n + 2, d & 3, ok && ok2
	}
	c, ok := r.byte()
	if state == 4 {
		return 0x801 + t>>2 + c<<2, 3, t & 3, ok
	}
	return 1 + t>>2 + c<<2, 2, t & 3, ok
}

func (r *lzoReader) pair() (int, bool) {
	if r.at+2 > len(r.b) {
		return 0, false
	}
	r.at += 2
	return int(le.Uint16(r.b[r.at-2:])), true
}
