package memory

import "github.com/xentape/xentape/format"

// stash keeps what was read during the pause, so that the guest does not wait for
// the tape. When it is full the rest goes to the tape directly.
type stash struct {
	room  int // pages
	pages []uint64
	data  []byte
	to    *format.SnapshotWriter
}

func (s *stash) put(page uint64, data []byte) error {
	if len(s.pages) >= s.room {
		return s.to.Page(page, data)
	}
	s.pages = append(s.pages, page)
	s.data = append(s.data, data...)
	return nil
}

// pass is put for pages that need not be kept: they go to the tape together, their
// hashing spread over the CPUs.
func (s *stash) pass(page uint64, data []byte) error {
	if len(s.pages) >= s.room {
		if err := s.drain(); err != nil {
			return err
		}
	}
	return s.put(page, data)
}

// drain writes everything kept.
func (s *stash) drain() error {
	err := s.to.Pages(s.pages, s.data)
	s.pages, s.data = s.pages[:0], s.data[:0]
	return err
}
