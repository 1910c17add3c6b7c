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
// zero value is empty and ready. No offset is negative.
type scratch struct {
	heap [inMemory / chunkBytes]*[chunkBytes]byte
	file *os.File
}

// piece is how many of n bytes from off on lie in one place: a chunk of the heap, or the
// file.
func piece(off int64, n int) int {
	if off < inMemory {
		return min(n, chunkBytes-int(off%chunkBytes))
	}
	return n
}

// WriteAt implements io.WriterAt.
func (s *scratch) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n := piece(off, len(p)-done)
		k, err := s.write(p[done:done+n], off)
		done, off = done+k, off+int64(k)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (s *scratch) write(p []byte, off int64) (int, error) {
	if off < inMemory {
		c := &s.heap[off/chunkBytes]
		if *c == nil {
			*c = new([chunkBytes]byte)
		}
		return copy((*c)[off%chunkBytes:], p), nil
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
	done := 0
	for done < len(p) {
		n := piece(off, len(p)-done)
		k, err := s.read(p[done:done+n], off)
		done, off = done+k, off+int64(k)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (s *scratch) read(p []byte, off int64) (int, error) {
	if off < inMemory {
		c := s.heap[off/chunkBytes]
		if c == nil {
			return 0, io.EOF
		}
		return copy(p, c[off%chunkBytes:]), nil
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
