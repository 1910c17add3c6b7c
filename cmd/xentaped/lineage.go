package main

import (
	"github.com/xentape/xentape/capture/disk"
)

// lineage is how a segment's disks go on from those of the segment before. With
// "base: rolling" a disk whose content up to now can be had from earlier tapes needs no
// image of its own: it names the tape that it goes on from.
type lineage struct {
	tape   string          // file name of this session's tape; "" when it is no segment
	before *session        // the segment that was being recorded when this one began; nil: none
	roots  map[string]root // by name of the disk
	over   bool            // nothing goes on from here
	failed bool            // it ended without having everything
}

// root is where the content of a disk begins.
type root struct {
	device    string
	continues string // "": with an image on this tape
}

// inherit says on which tape the content of a disk up to now is; "" when it needs an
// image. One that was detached and comes back may have been written meanwhile.
func (s *session) inherit(name, device string) (tape string) {
	s.mu.Lock()
	before := s.lineage.before
	_, again := s.lineage.roots[name]
	s.mu.Unlock()
	if s.want.rolling && before != nil && !again {
		tape = before.bequeath(name, device)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lineage.roots == nil {
		s.lineage.roots = map[string]root{}
	}
	s.lineage.roots[name] = root{device, tape}
	return tape
}

// bequeath is the name of this session's tape, if a disk can go on from it.
func (s *session) bequeath(name, device string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lineage
	src, recorded := s.devices[name].(*disk.Source)
	if !recorded || l.over || src.Notice() != "" || l.roots[name].device != device {
		return ""
	}
	if l.roots[name].continues == "" {
		if st := src.Status(); st.Based != st.Size {
			return ""
		}
	} else if l.before.endedBadly() {
		return ""
	}
	return l.tape
}

func (s *session) endedBadly() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lineage.failed
}

// end notes that the recording is over, and whether what was lost of its disks has been
// read back. What went before does not matter any more.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lineage
	l.over = true
	l.failed = err != nil || l.before != nil && l.before.endedBadly()
	for name, src := range s.devices {
		d, ok := src.(*disk.Source)
		if !ok {
			continue
		}
		st := d.Status()
		if st.Unsure > 0 {
			l.failed = true
		}
		if s.want.rolling && l.roots[name].continues == "" && st.Based < st.Size {
			s.console.notef("%s: %d of %d bytes of its image were taken when the segment ended: nothing can go on from it", name, st.Based, st.Size)
		}
	}
	l.before = nil
}
