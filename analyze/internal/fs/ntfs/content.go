package ntfs

import (
	"fmt"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// extents lists where a stream's bytes are.
func (v *Volume) extents(s *stream) []fs.Extent {
	if s.resident {
		if len(s.value) == 0 {
			return nil
		}
		return []fs.Extent{{Length: uint64(len(s.value)), State: fs.ExtentInline, Physical: digest(s.value)}}
	}
	c := v.boot.Cluster
	out := make([]fs.Extent, 0, len(s.runs))
	for _, r := range s.runs {
		if r.sparse {
			continue
		}
		e := fs.Extent{Logical: r.vcn * c, Physical: r.lcn * c, Length: r.count * c}
		switch {
		case s.unit > 0:
			out = split(out, e, s.unit*c)
			continue
		case e.Logical >= s.valid:
			e.State = fs.ExtentUnwritten
		case e.Logical+e.Length > s.valid:
			// Beyond the initialized size a cluster reads as zeros.
			cut := s.valid - e.Logical
			out = append(out, fs.Extent{Logical: e.Logical, Physical: e.Physical, Length: cut})
			e = fs.Extent{Logical: e.Logical + cut, Physical: e.Physical + cut, Length: e.Length - cut, State: fs.ExtentUnwritten}
		}
		out = append(out, e)
	}
	return out
}

// split cuts a run of a compressed stream at the ends of its units, unless that
// would make too many pieces.
func split(out []fs.Extent, e fs.Extent, unit uint64) []fs.Extent {
	e.State = fs.ExtentCompressed
	for e.Length > 0 && len(out) < maxRuns {
		n := min(e.Length, unit-e.Logical%unit)
		out = append(out, fs.Extent{Logical: e.Logical, Physical: e.Physical, Length: n, State: e.State})
		e.Logical, e.Physical, e.Length = e.Logical+n, e.Physical+n, e.Length-n
	}
	return out
}

// content opens a stream.
func (v *Volume) content(dev fs.Device, s *stream) fs.Content {
	switch {
	case s.resident:
		return fs.NewInline(s.size, s.value)
	case s.unit > 0:
		return &compressed{v: v, s: s, last: ^uint64(0)}
	}
	return fs.NewMapped(dev, s.size, v.extents(s))
}

// readStream fills p from the start of a stream.
func (v *Volume) readStream(s *stream, p []byte) error {
	clear(p)
	switch {
	case s.resident:
		copy(p, s.value)
		return nil
	case s.unit > 0:
		_, err := (&compressed{v: v, s: s, last: ^uint64(0)}).ReadAt(p, 0)
		if err == io.EOF {
			err = nil
		}
		return err
	}
	return v.readRuns(s.runs, p[:min(s.valid, uint64(len(p)))], 0)
}

// compressed reads a stream kept in compression units. It remembers the last.
type compressed struct {
	v    *Volume
	s    *stream
	last uint64
	buf  []byte
}

// Size implements fs.Content.
func (c *compressed) Size() uint64 { return c.s.size }

// Extents implements fs.Content.
func (c *compressed) Extents() []fs.Extent { return c.v.extents(c.s) }

// ReadAt implements fs.Content.
func (c *compressed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off) >= c.s.size {
		return 0, io.EOF
	}
	var eof error
	if uint64(len(p)) > c.s.size-uint64(off) {
		p, eof = p[:c.s.size-uint64(off)], io.EOF
	}
	unit := c.s.unit * c.v.boot.Cluster
	for done := 0; done < len(p); {
		at := uint64(off) + uint64(done)
		if at >= c.s.valid {
			clear(p[done:])
			break
		}
		if err := c.load(at / unit); err != nil {
			return done, err
		}
		n := copy(p[done:], c.buf[at%unit:])
		if left := c.s.valid - at; uint64(n) > left {
			clear(p[done+int(left) : done+n])
		}
		done += n
	}
	return len(p), eof
}

// load uncompresses unit k: all its clusters are there when it did not compress,
// none when it is zeros, else as many as the compressed bytes take.
func (c *compressed) load(k uint64) error {
	if c.last == k {
		return nil
	}
	c.last = ^uint64(0)
	cl, from := c.v.boot.Cluster, k*c.s.unit
	have := uint64(0)
	for _, r := range c.s.runs {
		if a, b := max(r.vcn, from), min(r.vcn+r.count, from+c.s.unit); a < b && !r.sparse {
			have += b - a
		}
	}
	size := c.s.unit * cl
	if size > 4<<20 {
		return fmt.Errorf("compression unit of %d bytes: %w", size, fs.ErrUnsupported)
	}
	if uint64(len(c.buf)) != size {
		c.buf = make([]byte, size)
	}
	switch have = min(have, c.s.unit); {
	case have == 0:
		clear(c.buf)
	case have == c.s.unit:
		if err := c.v.readRuns(c.s.runs, c.buf, from*cl); err != nil {
			return err
		}
	default:
		raw := make([]byte, have*cl)
		if err := c.v.readRuns(c.s.runs, raw, from*cl); err != nil {
			return err
		}
		clear(c.buf)
		if err := lznt1(raw, c.buf); err != nil {
			return fmt.Errorf("compression unit %d: %w", k, err)
		}
	}
	c.last = k
	return nil
}
