package main

import (
	"errors"
	"io"
	"os"
)

// inMemory is how much of what a guest wrote is kept on the heap; the rest goes to
// a temporary file.
const inMemory = 256 << 20

// scratch keeps the blocks a guest wrote, for as long as a disk is followed. The
// zero value is empty and ready.
type scratch struct {
	heap []byte
	file *os.File
}

// WriteAt implements io.WriterAt.
func (s *scratch) WriteAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); end <= inMemory {
		if int(end) > len(s.heap) {
			s.grow(int(end))
		}
		return copy(s.heap[off:], p), nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "xentape-*.blocks")
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	return s.file.WriteAt(p, off)
}

// grow doubles the heap part, up to its limit.
func (s *scratch) grow(need int) {
	n := max(need, min(2*len(s.heap), inMemory), 1<<20)
	next := make([]byte, n)
	copy(next, s.heap)
	s.heap = next
}

// ReadAt implements io.ReaderAt.
func (s *scratch) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= inMemory {
		if off > int64(len(s.heap)) {
			return 0, io.EOF
		}
		n := copy(p, s.heap[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	if s.file == nil {
		return 0, io.EOF
	}
	return s.file.ReadAt(p, off)
}

// Close gives everything back.
func (s *scratch) Close() error {
	s.heap = nil
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
