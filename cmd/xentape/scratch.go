package main

import (
	"errors"
	"io"
	"os"
)

// inMemory is how much of what a guest wrote is kept on the heap; the rest goes to
// a temporary file. The collector may hold twice as much.
const inMemory = 64 << 20

const chunkBytes = 1 << 20

// scratch keeps the blocks a guest wrote, for as long as a disk is followed. The
// zero value is empty and ready. Reads and writes are of pages.
type scratch struct {
	heap [inMemory / chunkBytes]*[chunkBytes]byte
	file *os.File
}

// within finds the heap's place for a page at off; nil where it is not the heap's.
func (s *scratch) within(off int64, n int) (c **[chunkBytes]byte, at int) {
	at = int(off % chunkBytes)
	if off < 0 || off >= inMemory || at+n > chunkBytes {
		return nil, 0
	}
	return &s.heap[off/chunkBytes], at
}

// WriteAt implements io.WriterAt.
func (s *scratch) WriteAt(p []byte, off int64) (int, error) {
	if c, at := s.within(off, len(p)); c != nil {
		if *c == nil {
			*c = new([chunkBytes]byte)
		}
		return copy((*c)[at:], p), nil
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

// ReadAt implements io.ReaderAt.
func (s *scratch) ReadAt(p []byte, off int64) (int, error) {
	if c, at := s.within(off, len(p)); c != nil {
		if *c == nil {
			return 0, io.EOF
		}
		return copy(p, (*c)[at:]), nil
	}
	if s.file == nil {
		return 0, io.EOF
	}
	return s.file.ReadAt(p, off)
}

// Close gives everything back.
func (s *scratch) Close() error {
	clear(s.heap[:])
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
