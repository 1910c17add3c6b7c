package fs

import "io"

// Scratch is where written pages go when they should not stay on the heap: a
// temporary file, as a rule. It is written and read at page-aligned offsets, one page or
// several at once.
type Scratch interface {
	io.ReaderAt
	io.WriterAt
}

// pageStore keeps pages by slot number.
type pageStore struct {
	scratch Scratch
	slabs   []*slab
	next    uint32
	freed   []uint32
}

const slabPages = 256

type slab [slabPages][pageSize]byte

func newPageStore(s Scratch) pageStore { return pageStore{scratch: s} }

func (s *pageStore) alloc() uint32 {
	if k := len(s.freed); k > 0 {
		slot := s.freed[k-1]
		s.freed = s.freed[:k-1]
		return slot
	}
	s.next++
	return s.next - 1
}

func (s *pageStore) release(slot uint32) { s.freed = append(s.freed, slot) }

func (s *pageStore) read(slot uint32, dst *[pageSize]byte) error {
	if s.scratch != nil {
		_, err := s.scratch.ReadAt(dst[:], int64(slot)*pageSize)
		return err
	}
	*dst = s.slabs[slot/slabPages][slot%slabPages]
	return nil
}

// follows reports whether slot is the one that alloc gives next.
func (s *pageStore) follows(slot uint32) bool { return len(s.freed) == 0 && s.next == slot }

// readRun reads whole pages from a scratch, those from slot on.
func (s *pageStore) readRun(slot uint32, dst []byte) error {
	_, err := s.scratch.ReadAt(dst, int64(slot)*pageSize)
	return err
}

// writeRun writes whole pages, to slot and those after it.
func (s *pageStore) writeRun(slot uint32, src []byte) error {
	if s.scratch != nil {
		_, err := s.scratch.WriteAt(src, int64(slot)*pageSize)
		return err
	}
	for ; len(src) > 0; slot, src = slot+1, src[pageSize:] {
		if err := s.write(slot, (*[pageSize]byte)(src)); err != nil {
			return err
		}
	}
	return nil
}

func (s *pageStore) write(slot uint32, src *[pageSize]byte) error {
	if s.scratch != nil {
		_, err := s.scratch.WriteAt(src[:], int64(slot)*pageSize)
		return err
	}
	for int(slot/slabPages) >= len(s.slabs) {
		s.slabs = append(s.slabs, new(slab))
	}
	s.slabs[slot/slabPages][slot%slabPages] = *src
	return nil
}

// baseCache keeps recently read pages of the base, direct-mapped: inode tables
// and directories are read again and again in small pieces.
type baseCache struct{ lines []cacheLine }

const cacheLines = 512 // 2 MiB

type cacheLine struct {
	page  uint64
	known uint8
	valid bool
	data  [pageSize]byte
}

func (c *baseCache) get(n uint64, dst *[pageSize]byte) (uint8, bool) {
	if c.lines == nil {
		return 0, false
	}
	l := &c.lines[n%cacheLines]
	if !l.valid || l.page != n {
		return 0, false
	}
	*dst = l.data
	return l.known, true
}

func (c *baseCache) put(n uint64, src *[pageSize]byte, known uint8) {
	if c.lines == nil {
		c.lines = make([]cacheLine, cacheLines)
	}
	l := &c.lines[n%cacheLines]
	l.page, l.known, l.valid, l.data = n, known, true, *src
}
