package imagetest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// Page is the content of a frame.
type Page = [format.PageSize]byte

// Sparse is a memory image held as the frames that matter for an analysis: real
// recordings made small enough to keep, and the ground to try mutations on.
type Sparse struct {
	Header
	Frames map[uint64]*Page
	Prev   *Sparse // the snapshot before, of the same boot; nil for the first
}

// Header is what a file says of its image.
type Header struct {
	Origin string            `json:"origin"` // which recording, and how it was reduced
	Info   replay.MemoryInfo `json:"info"`
	Blobs  map[string][]byte `json:"attachments"`
	Delta  bool              `json:"delta"` // the file has only what differs from the snapshot before
	Count  int               `json:"frames"`
}

// Write writes the image, or its difference from the snapshot before: a line of
// JSON, then frame numbers with their 4096 bytes, ascending, all in one zstd
// frame.
func (s *Sparse) Write(w io.Writer) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(zstd.MaxWindowSize>>3))
	if err != nil {
		return err
	}
	var frames []uint64
	for f, p := range s.Frames {
		if s.Prev == nil || s.Prev.Frames[f] == nil || *s.Prev.Frames[f] != *p {
			frames = append(frames, f)
		}
	}
	slices.Sort(frames)
	h := s.Header
	h.Delta, h.Count = s.Prev != nil, len(frames)
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := z.Write(append(b, '\n')); err != nil {
		return err
	}
	for _, f := range frames {
		if _, err := z.Write(append(binary.LittleEndian.AppendUint64(nil, f), s.Frames[f][:]...)); err != nil {
			return err
		}
	}
	return z.Close()
}

// Read reads what Write wrote; prev is the snapshot before of a delta.
func Read(r io.Reader, prev *Sparse) (*Sparse, error) {
	z, err := zstd.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	b := bufio.NewReader(z)
	line, err := b.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	s := &Sparse{Frames: map[uint64]*Page{}}
	if err := json.Unmarshal(line, &s.Header); err != nil {
		return nil, err
	}
	if s.Delta != (prev != nil) {
		return nil, fmt.Errorf("%s: delta is %v", s.Origin, s.Delta)
	}
	if prev != nil {
		s.Prev = prev
		maps.Copy(s.Frames, prev.Frames)
	}
	for range s.Count {
		var n [8]byte
		p := new(Page)
		if _, err := io.ReadFull(b, n[:]); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(b, p[:]); err != nil {
			return nil, err
		}
		s.Frames[binary.LittleEndian.Uint64(n[:])] = p
	}
	return s, nil
}

// Clone copies the image so that one can be changed; it has no snapshot before.
// Frames are shared until they are written to.
func (s *Sparse) Clone() *Sparse {
	c := &Sparse{Header: s.Header, Frames: maps.Clone(s.Frames)}
	c.Blobs = maps.Clone(s.Blobs)
	return c
}

// Put writes bytes at a guest-physical address of frames the image has.
func (s *Sparse) Put(pa uint64, b []byte) {
	for len(b) > 0 {
		f := pa / format.PageSize
		p := *s.Frames[f]
		n := copy(p[pa%format.PageSize:], b)
		s.Frames[f] = &p
		b, pa = b[n:], pa+uint64(n)
	}
}

// U64 reads a word at a guest-physical address of a frame the image has.
func (s *Sparse) U64(pa uint64) uint64 {
	return binary.LittleEndian.Uint64(s.Frames[pa/format.PageSize][pa%format.PageSize:])
}

// Extents implements format.Image.
func (s *Sparse) Extents() []format.Extent {
	return extents(slices.Sorted(maps.Keys(s.Frames)))
}

func extents(frames []uint64) []format.Extent {
	var out []format.Extent
	for _, f := range frames {
		out = format.AppendExtent(out, format.Extent{Start: f, Count: 1})
	}
	return out
}

// ReadPage implements format.Image.
func (s *Sparse) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	p := s.Frames[n]
	if p == nil {
		clear(dst[:format.PageSize])
		return format.PageAbsent, nil
	}
	copy(dst, p[:])
	return format.PageData, nil
}

// Info implements replay.Memory.
func (s *Sparse) Info() replay.MemoryInfo { return s.Header.Info }

// Attachment implements replay.Memory.
func (s *Sparse) Attachment(name string) ([]byte, bool) {
	b, ok := s.Blobs[name]
	return b, ok
}

// Attachments implements replay.Memory.
func (s *Sparse) Attachments() []string { return slices.Sorted(maps.Keys(s.Blobs)) }

// Changed implements replay.Memory.
func (s *Sparse) Changed() ([]format.Extent, bool) {
	if s.Prev == nil {
		return nil, false
	}
	var out []uint64
	for f, p := range s.Frames {
		if q := s.Prev.Frames[f]; q == nil || *q != *p {
			out = append(out, f)
		}
	}
	for f := range s.Prev.Frames {
		if s.Frames[f] == nil {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return extents(out), true
}
