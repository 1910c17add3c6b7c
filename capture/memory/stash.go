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

// drain writes everything kept.
func (s *stash) drain() error {
	err := s.to.Pages(s.pages, s.data)
	s.pages, s.data = nil, nil
	return err
}
