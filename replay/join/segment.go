package join

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/xentape/xentape/format"
)

// segment is one tape as it is read.
type segment struct {
	Segment
	index int
	next  func() (format.Record, error, bool)
	stop  func()
	head  format.Record // the next record; nil when none was looked at
	at    int64         // the latest time up to it
	err   error
	ended bool

	ids     map[format.StreamID]format.StreamID // of the new tape, by its own
	takes   map[format.StreamID]int64           // by those of the new tape: since when it has the stream
	skipped map[format.StreamID]bool            // its own: the image of this disk is not needed
	flying  map[flight]submitted
	shots   map[uint32]*format.SnapshotWriter // by its own ids, while they are written
	done    map[uint32]uint32                 // and those that were: their new ids
}

// flight names a request by its stream on the new tape and its id on its segment.
type flight struct {
	stream format.StreamID
	id     uint64
}

// submitted is a request that waits for its completion.
type submitted struct {
	id             uint64 // on the new tape
	time           int64
	offset, length uint64 // of what it would change; 0: nothing
}

func newSegment(i int, s Segment) *segment {
	return &segment{
		Segment: s, index: i, ids: map[format.StreamID]format.StreamID{}, takes: map[format.StreamID]int64{},
		skipped: map[format.StreamID]bool{}, flying: map[flight]submitted{},
		shots: map[uint32]*format.SnapshotWriter{}, done: map[uint32]uint32{},
	}
}

// peek looks at the next record; false when there is none.
func (s *segment) peek() bool {
	if s.head != nil || s.err != nil || s.ended {
		return s.head != nil && s.err == nil
	}
	if s.next == nil {
		s.next, s.stop = iter.Pull2(s.Reader.Records(format.Query{}))
	}
	r, err, ok := s.next()
	if !ok {
		return false
	}
	if s.err = err; err != nil {
		return false
	}
	s.head, s.at = r, max(s.at, r.Header().Time)
	return true
}

// take removes the record looked at.
func (s *segment) take() format.Record {
	r := s.head
	s.head = nil
	return r
}

func (s *segment) close() {
	if s.stop != nil {
		s.stop()
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
