package fstest

import (
	"io"

	"github.com/xentape/xentape/format"
)

// Image makes a format.Image of a raw disk image of size bytes.
type Image struct {
	R    io.ReaderAt
	Size int64
}

// Extents implements format.Image: every page is known.
func (i Image) Extents() []format.Extent {
	return []format.Extent{{Count: uint64(i.Size+format.PageSize-1) / format.PageSize}}
}

// ReadPage implements format.Image.
func (i Image) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	clear(dst[:format.PageSize])
	if int64(n) >= (i.Size+format.PageSize-1)/format.PageSize {
		return format.PageAbsent, nil
	}
	if _, err := i.R.ReadAt(dst[:format.PageSize], int64(n)*format.PageSize); err != nil && err != io.EOF {
		return format.PageMissing, err
	}
	return format.PageData, nil
}

// Holes is an image of which the pages in Missing were never captured.
type Holes struct {
	Image
	Missing map[uint64]bool
}

// ReadPage implements format.Image.
func (h Holes) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	if h.Missing[n] {
		clear(dst[:format.PageSize])
		return format.PageMissing, nil
	}
	return h.Image.ReadPage(n, dst)
}

// Sparse is a disk in memory of which only the pages that are not zero are held.
type Sparse struct {
	Pages map[int64][]byte
	Bytes int64
}

// NewSparse reads a whole image from r.
func NewSparse(r io.Reader) (*Sparse, error) {
	s := &Sparse{Pages: map[int64][]byte{}}
	buf := make([]byte, format.PageSize)
	for {
		n, err := io.ReadFull(r, buf)
		for _, b := range buf[:n] {
			if b != 0 {
				clear(buf[n:])
				s.Pages[s.Bytes/format.PageSize] = append([]byte(nil), buf...)
				break
			}
		}
		s.Bytes += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Clone copies the disk, sharing no page.
func (s *Sparse) Clone() *Sparse {
	c := &Sparse{Pages: make(map[int64][]byte, len(s.Pages)), Bytes: s.Bytes}
	for n, p := range s.Pages {
		c.Pages[n] = append([]byte(nil), p...)
	}
	return c
}

// ReadAt implements io.ReaderAt.
func (s *Sparse) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < s.Bytes {
		in := off % format.PageSize
		k := min(int64(len(p)-n), format.PageSize-in, s.Bytes-off)
		if page := s.Pages[off/format.PageSize]; page != nil {
			copy(p[n:n+int(k)], page[in:])
		} else {
			clear(p[n : n+int(k)])
		}
		n, off = n+int(k), off+k
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt within the disk.
func (s *Sparse) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < s.Bytes {
		in := off % format.PageSize
		k := min(int64(len(p)-n), format.PageSize-in, s.Bytes-off)
		page := s.Pages[off/format.PageSize]
		if page == nil {
			page = make([]byte, format.PageSize)
			s.Pages[off/format.PageSize] = page
		}
		copy(page[in:], p[n:n+int(k)])
		n, off = n+int(k), off+k
	}
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}
