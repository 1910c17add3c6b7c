package memory

import "github.com/xentape/xentape/format"

// stash keeps what was read during the pause, so that the guest does not wait for
// a file. When it is full the rest goes on directly.
type stash struct {
	room  int // pages
	pages []uint64
	data  []byte
	to    *statements
}

func (s *stash) put(page uint64, data []byte) error {
	if len(s.pages) < s.room {
		s.keep(page, data)
		return nil
	}
	if s.to.spool == nil {
		return s.to.Pages([]uint64{page}, data)
	}
	err := s.to.spool.Pages(s.pages, s.data)
	if err == nil {
		s.pages, s.data = s.pages[:0], s.data[:0]
	} else {
		err = errStop // the guest cannot wait for the tape; nothing read is forgotten
	}
	s.keep(page, data)
	return err
}

func (s *stash) keep(page uint64, data []byte) {
	if s.data == nil {
		s.data = make([]byte, 0, min(s.room, batchFrames)*format.PageSize)
	}
	s.pages = append(s.pages, page)
	s.data = append(s.data, data...)
}

// drain writes everything kept.
func (s *stash) drain() error {
	err := s.to.Pages(s.pages, s.data)
	s.pages, s.data = s.pages[:0], s.data[:0]
	return err
}

// statements is where the statements of a snapshot go: the spool while it takes them,
// else the tape.
type statements struct {
	tape   *format.SnapshotWriter
	spool  *format.Spool // nil: there is none, or it failed
	failed func(error)   // is told why the spool is given up
}

// Pages states contents.
func (s *statements) Pages(pages []uint64, data []byte) error {
	if s.spool == nil {
		return s.tape.Pages(pages, data)
	}
	err := s.spool.Pages(pages, data)
	if err == nil && s.spool.Full() {
		err = s.spool.Empty()
	}
	if err == nil {
		return nil
	}
	if err := s.giveUp(err); err != nil {
		return err
	}
	return s.tape.Pages(pages, data)
}

// State states pages without content.
func (s *statements) State(e format.Extent, st format.PageState) error {
	if s.spool == nil {
		return s.tape.State(e, st)
	}
	err := s.spool.State(e, st)
	if err == nil {
		return nil
	}
	if err := s.giveUp(err); err != nil {
		return err
	}
	return s.tape.State(e, st)
}

// giveUp goes on without the spool: what it has goes to the tape, and is taken out of
// it, because what the tape is told from now on is newer.
func (s *statements) giveUp(why error) error {
	s.failed(why)
	err := s.settle()
	if err == nil {
		err = s.spool.Release()
	}
	s.spool = nil
	return err
}

// whole says that the snapshot is in the spool, whatever becomes of the recorder.
func (s *statements) whole(e format.SnapshotEnd) error {
	if s.spool == nil {
		return nil
	}
	if err := s.spool.End(e); err != nil {
		return s.giveUp(err)
	}
	return nil
}

// settle moves what is in the spool to the tape.
func (s *statements) settle() error {
	if s.spool == nil {
		return nil
	}
	return s.spool.Drain()
}

// release gives the spool up when the snapshot is in the tape's file.
func (s *statements) release() error {
	if s.spool == nil {
		return nil
	}
	return s.spool.Release()
}
