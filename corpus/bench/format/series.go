// Package format measures the tape container against what else could hold the
// same recording: a plain log of zstd chunks, and restic.
package format

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// PageSize is the unit of the images.
const PageSize = 4096

// Series makes images of a guest's memory at successive moments, without a
// guest: most of it zero or page cache (files of this machine), the rest heap
// that looks like structures: pointers into a common range, small integers,
// text. Later images change what a running guest changes: pointers and counters
// in many heap pages, some page cache read in and some given back.
type Series struct {
	Image []byte
	rng   *rand.Rand
	heap  []int // page numbers
	zero  []int
	files [][]byte
}

// NewSeries makes the first image: size bytes, from the files under dirs, and a
// fixed seed. It fails when the files are fewer than it needs.
func NewSeries(size int, dirs ...string) (*Series, error) {
	s := &Series{Image: make([]byte, size), rng: rand.New(rand.NewPCG(1, 2))}
	pages := size / PageSize
	// 57 % zero, 25 % page cache, 18 % heap: the shares of a Debian 12 guest
	// with 2 GiB that serves web pages, compiles, and runs a database.
	cache := pages * 25 / 100
	if err := s.readFiles(cache*5/4, dirs); err != nil {
		return nil, err
	}
	order := s.rng.Perm(pages)
	// Page cache and heap lie in runs, as an allocator gives them.
	at := 0
	for ; at < cache; at++ {
		copy(s.page(at), s.files[at])
	}
	for ; at < cache+pages*18/100; at++ {
		s.heap = append(s.heap, at)
		s.fillHeap(s.page(at))
	}
	for _, n := range order {
		if n >= at {
			s.zero = append(s.zero, n)
		}
	}
	s.files = s.files[cache:]
	return s, nil
}

func (s *Series) page(n int) []byte { return s.Image[n*PageSize : (n+1)*PageSize] }

func (s *Series) readFiles(pages int, dirs []string) error {
	for _, dir := range dirs {
		es, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range es {
			if len(s.files) >= pages {
				return nil
			}
			if !e.Type().IsRegular() {
				continue
			}
			if err := s.readFile(filepath.Join(dir, e.Name()), pages); err != nil {
				return err
			}
		}
	}
	if len(s.files) < pages {
		return fmt.Errorf("%d pages of files in %v, %d are needed", len(s.files), dirs, pages)
	}
	return nil
}

func (s *Series) readFile(name string, pages int) error {
	f, err := os.Open(name)
	if err != nil {
		return nil // files that may not be read are not missed
	}
	defer f.Close()
	// At most 8 MiB of each: no single program should fill the image.
	for n := 0; n < 2048 && len(s.files) < pages; n++ {
		p := make([]byte, PageSize)
		if _, err := io.ReadFull(f, p); err == io.ErrUnexpectedEOF {
			s.files = append(s.files, p)
			return nil
		} else if err != nil {
			return nil
		}
		s.files = append(s.files, p)
	}
	return nil
}

// fillHeap fills a page with objects of one size, as a slab or an arena does.
func (s *Series) fillHeap(p []byte) {
	size := []int{32, 64, 192, 256, 1024}[s.rng.IntN(5)]
	base := uint64(0xffff888000000000) | uint64(s.rng.Uint32())<<12
	for o := 0; o+size <= len(p); o += size {
		if s.rng.IntN(8) == 0 {
			continue // free
		}
		for f := 0; f < size; f += 8 {
			var v uint64
			switch s.rng.IntN(6) {
			case 0, 1:
				v = base + uint64(s.rng.IntN(1<<20))*8
			case 2:
				v = uint64(s.rng.IntN(4096))
			case 3:
				v = 0x6c2e6f732f62696c + uint64(s.rng.IntN(64)) // text
			}
			binary.LittleEndian.PutUint64(p[o+f:], v)
		}
	}
}

// Advance makes the image of a later moment: heap is the share of heap pages in
// which something changes, cache the share of all pages that new files take.
func (s *Series) Advance(heap, cache float64) {
	for _, n := range s.heap {
		if s.rng.Float64() >= heap {
			continue
		}
		p := s.page(n)
		if s.rng.IntN(10) == 0 {
			s.fillHeap(p) // freed and taken for something else
			continue
		}
		for range 1 + s.rng.IntN(24) {
			binary.LittleEndian.PutUint64(p[s.rng.IntN(PageSize/8)*8:], s.rng.Uint64()>>s.rng.IntN(60))
		}
	}
	for range int(cache * float64(len(s.Image)/PageSize)) {
		if len(s.files) == 0 || len(s.zero) == 0 {
			return
		}
		copy(s.page(s.zero[0]), s.files[0])
		s.files, s.zero = s.files[1:], s.zero[1:]
	}
}
