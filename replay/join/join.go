// Package join makes one tape of the segments of a flight recorder, so that what
// reads one tape reads all that the recorder kept.
//
// Two segments of a guest are both written for a moment, so that nothing falls between
// them. Up to a time in that overlap each stream is taken from the earlier segment, from
// then on from the later one; a disk request belongs to the segment of its submission.
package join

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xentape/xentape/format"
)

// Segment is one tape of the ring.
type Segment struct {
	Name   string // its file name, which the next segment knows it by
	Reader *format.Reader
}

// Image is what a disk held at the end of a tape that is there no more.
type Image struct {
	Disk, After string // After: the file name of that tape
	format.Image
}

// handover is how long after a stream begins in a later segment that one is believed
// to have all of it. The recorder writes both for two seconds (cmd/xentaped).
const handover = time.Second

// folded is how long after the first segment began the tape before it may still have
// been written, whose end the image is of: the recorder's overlap, and what a request
// takes to complete.
const folded = 5 * time.Second

// maxFlying bounds the requests of one segment that are waiting for their completion.
const maxFlying = 1 << 20

// ErrApart says that two segments do not meet.
var ErrApart = errors.New("the guest was not recorded in between")

// Tapes writes what segments of one guest hold, in the order in which they were
// recorded, to w, whose start is that of the first; the caller seals it. It returns what
// is not on the new tape although the guest had it. Segments that do not meet are
// refused with ErrApart: what one tape says of a disk must go on without a break. progress,
// if not nil, is told now and then of the record reached, and may end it with an error.
func Tapes(w *format.Writer, segments []Segment, images []Image, progress func(segment string, record uint64) error) (losses []string, err error) {
	if err := check(segments); err != nil {
		return nil, err
	}
	j := &joiner{w: w, streams: map[key]stream{}, images: images, attached: map[[32]byte]bool{}, requests: 1, progress: progress}
	for i, s := range segments {
		j.segments = append(j.segments, newSegment(i, s))
	}
	defer func() {
		for _, s := range j.segments {
			s.close()
		}
	}()
	for i := range j.segments {
		if err := j.run(i); err != nil {
			return nil, err
		}
	}
	for _, m := range images {
		if !slices.ContainsFunc(j.used, func(name string) bool { return name == m.Disk }) {
			return nil, fmt.Errorf("the image of %s is of the end of %s, from which no disk of %s goes on", m.Disk, m.After, segments[0].Name)
		}
	}
	return j.losses, nil
}

// check refuses what cannot be joined.
func check(segments []Segment) error {
	if len(segments) == 0 {
		return errors.New("no segments")
	}
	var guest [16]byte
	for i, s := range segments {
		if len(s.Reader.Damage()) > 0 && s.Reader.Sealed() {
			return fmt.Errorf("%s: is damaged: make a tape of what is left with salvage first", s.Name)
		}
		start, first := s.Reader.Header().Start, segments[0].Reader.Header().Start
		if start.BootID != first.BootID {
			return fmt.Errorf("%s: was recorded in another boot of the host than %s: their clocks do not compare", s.Name, segments[0].Name)
		}
		if i > 0 && start.Time <= segments[i-1].Reader.Header().Start.Time {
			return fmt.Errorf("%s: does not begin after %s: name the segments in their order, each once", s.Name, segments[i-1].Name)
		}
		for _, def := range s.Reader.Streams() {
			switch {
			case def.Domain == [16]byte{}:
			case guest == [16]byte{}:
				guest = def.Domain
			case guest != def.Domain:
				return fmt.Errorf("%s: is of guest %x, not of %x", s.Name, def.Domain, guest)
			}
		}
	}
	return nil
}

// run writes what is left of a segment, and meanwhile what the next one has of that
// time.
func (j *joiner) run(i int) error {
	s := j.segments[i]
	if err := j.source(s); err != nil {
		return err
	}
	var next *segment
	if i+1 < len(j.segments) {
		next = j.segments[i+1]
	}
	for s.peek() {
		from := s
		if next != nil && next.peek() && next.at < s.at {
			from = next
		}
		seq := from.head.Header().Seq
		if seq%4096 == 0 && j.progress != nil {
			if err := j.progress(from.Name, seq); err != nil {
				return err
			}
		}
		if err := j.put(from); err != nil {
			return fmt.Errorf("%s: %w", from.Name, err)
		}
	}
	if s.err != nil {
		return fmt.Errorf("%s: %w", s.Name, s.err)
	}
	s.ended = true
	if !s.Reader.Sealed() {
		j.lose("%s: is not sealed: the recording was cut off", s.Name)
	}
	if next == nil {
		return nil
	}
	if start := next.Reader.Header().Start.Time; start > s.at {
		return fmt.Errorf("%s begins %v after the last record of %s: %w: join those before and those after by themselves",
			next.Name, time.Duration(start-s.at).Round(time.Millisecond), s.Name, ErrApart)
	}
	return j.unfinished(s)
}

// source says on the tape where what follows comes from.
func (j *joiner) source(s *segment) error {
	h := s.Reader.Header()
	if s.index > 0 {
		start := h.Start
		start.Stream = 0
		if err := j.w.Write(&start); err != nil {
			return err
		}
	}
	return j.w.Write(&format.Event{Stamp: format.Stamp{Time: h.Start.Time}, Kind: "tape-joined",
		Attrs: []format.Attr{{Name: "source", Value: s.Name}, {Name: "tape-id", Value: hex.EncodeToString(h.TapeID[:])}}})
}

// unfinished tells of the requests whose end the segment did not see.
func (j *joiner) unfinished(s *segment) error {
	by := map[format.StreamID]*format.Gap{}
	for k, r := range s.flying {
		if r.length == 0 {
			continue
		}
		g := by[k.stream]
		if g == nil {
			g = &format.Gap{Stamp: format.Stamp{Time: s.at, Stream: k.stream}, From: r.time, To: s.at, Reason: format.GapDetached,
				Detail: "requests whose completion is on no segment: " + s.Name + " ended before"}
			by[k.stream] = g
		}
		g.From = min(g.From, r.time)
		g.Count++
		g.Extents = append(g.Extents, format.Extent{Start: r.offset, Count: r.length})
	}
	s.flying = nil
	for _, id := range sortedKeys(by) {
		g := by[id]
		slices.SortFunc(g.Extents, func(a, b format.Extent) int { return cmp.Compare(a.Start, b.Start) })
		j.lose("%s: %d requests of a disk were under way when it ended, and are on no tape: what they wrote is not known", s.Name, g.Count)
		if err := j.w.Write(g); err != nil {
			return err
		}
	}
	return nil
}
