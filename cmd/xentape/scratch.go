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

// inPieces has the parts of p moved that each lie in one place: a chunk of the heap, or
// the file.
func inPieces(p []byte, off int64, move func([]byte, int64) (int, error)) (done int, err error) {
	for done < len(p) && err == nil {
		n, k := len(p)-done, 0
		if off < inMemory {
			n = min(n, chunkBytes-int(off%chunkBytes))
		}
		k, err = move(p[done:done+n], off)
		done, off = done+k, off+int64(k)
	}
	return done, err
}

// WriteAt implements io.WriterAt.
func (s *scratch) WriteAt(p []byte, off int64) (int, error) {
	return inPieces(p, off, s.write)
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
	return inPieces(p, off, s.read)
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
