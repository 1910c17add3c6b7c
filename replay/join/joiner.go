package join

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/xentape/xentape/format"
)

// joiner writes the new tape.
type joiner struct {
	w        *format.Writer
	segments []*segment
	streams  map[key]stream
	images   []Image
	used     []string // disks whose image is on the tape
	attached map[[32]byte]bool
	requests uint64 // the next request's id
	losses   []string
	progress func(segment string, record uint64) error
}

// key is what makes a stream of two segments the same.
type key struct {
	kind  format.StreamKind
	name  string
	domid uint16
	size  uint64
}

// stream is one of the new tape.
type stream struct {
	id format.StreamID
	in int // the segment that defined or took it over last
}

func (j *joiner) lose(f string, args ...any) { j.losses = append(j.losses, fmt.Sprintf(f, args...)) }

// put writes the next record of a segment, or leaves it to the other that has it too.
func (j *joiner) put(s *segment) error {
	r := s.take()
	h := r.Header()
	if d, ok := r.(*format.StreamDef); ok {
		return j.define(s, d)
	}
	own := h.Stream
	if own != 0 {
		h.Stream = s.ids[own]
	}
	switch r := r.(type) {
	case *format.Anchor, *format.Gap:
	case *format.SnapshotBegin:
		return j.begin(s, own, r)
	case *format.SnapshotEnd:
		return j.end(s, r)
	case *format.Attachment:
		return j.attach(s, r)
	case *format.DiskCompletion:
		f := flight{h.Stream, r.ID}
		was, ok := s.flying[f]
		if !ok {
			return nil // of a request that the other segment has
		}
		delete(s.flying, f)
		r.ID = was.id
	case *format.DiskRequest:
		if r.Flags&format.DiskReadback != 0 {
			break // told by nobody else
		}
		if j.elsewhere(s, h) {
			return nil
		}
		if err := j.submit(s, r); err != nil {
			return err
		}
	case *format.Event:
		if own != 0 && j.elsewhere(s, h) {
			return nil
		}
		j.detached(r)
	default:
		if j.elsewhere(s, h) {
			return nil
		}
	}
	return j.w.Write(r)
}

// detached: a disk that was taken away does not go on in the next segment, whatever is
// there under its name.
func (j *joiner) detached(e *format.Event) {
	if e.Kind != "disk-detached" {
		return
	}
	name := format.Attribute(e.Attrs, "name")
	for k, s := range j.streams {
		if k.kind == format.StreamDisk && (k.name == name || s.id == e.Stream) {
			delete(j.streams, k)
		}
	}
}

// elsewhere: what this segment has of a stream at that time is taken from another.
func (j *joiner) elsewhere(s *segment, h *format.Stamp) bool {
	if i := s.index; i > 0 {
		before := j.segments[i-1]
		since, shared := s.takes[h.Stream]
		if before.ended { // it has told all it saw
			since = min(since, before.at+1)
		}
		if shared && h.Time < since {
			return true
		}
	}
	if i := s.index + 1; i < len(j.segments) {
		since, shared := j.segments[i].takes[h.Stream]
		return shared && h.Time >= since
	}
	return false
}

// submit gives a request an id of the new tape.
func (j *joiner) submit(s *segment, r *format.DiskRequest) error {
	f := flight{r.Stream, r.ID}
	was, more := s.flying[f]
	if !more {
		was = submitted{id: j.requests, time: r.Time}
		j.requests++
	}
	switch r.Op {
	case format.DiskRead, format.DiskFlush:
	default:
		if was.length == 0 {
			was.offset = r.Offset
		}
		// A request is one run, however many records hold it.
		was.length = r.Offset + r.Length - was.offset
	}
	r.ID = was.id
	if r.Flags&format.DiskApplied != 0 {
		return nil
	}
	if s.flying[f] = was; len(s.flying) > maxFlying {
		return fmt.Errorf("record %d: more than %d requests wait for their completion", r.Seq, maxFlying)
	}
	return nil
}

// define takes a stream over from the segment before, or begins a new one.
func (j *joiner) define(s *segment, d *format.StreamDef) error {
	own, k := d.ID, key{d.Kind, d.Name, d.DomID, d.Size}
	if had, ok := j.streams[k]; ok && had.in == s.index-1 {
		s.ids[own] = had.id
		s.takes[had.id] = d.Time + int64(handover)
		s.skipped[own] = d.Kind == format.StreamDisk
		had.in = s.index
		j.streams[k] = had
		return nil
	}
	continues := format.Attribute(d.Attrs, "continues")
	id, err := j.w.DefineStream(*d)
	if err != nil {
		return err
	}
	s.ids[own] = id
	j.streams[k] = stream{id: id, in: s.index}
	if d.Kind != format.StreamDisk || continues == "" {
		return nil
	}
	for _, m := range j.images {
		if m.Disk == d.Name && m.After == continues {
			j.used = append(j.used, m.Disk)
			return j.base(d, id, m)
		}
	}
	j.lose("%s goes on from %s, which is not here and of which no image is given: what was not written since is not known", d.Name, continues)
	return nil
}

// base puts the image of a disk at the beginning of its stream. The segment began
// before the one ended that the image is of: until that is sure to have ended, what
// was written is part of the image.
func (j *joiner) base(d *format.StreamDef, id format.StreamID, m Image) error {
	b := format.SnapshotBegin{Stamp: format.Stamp{Time: d.Time, Stream: id}, Pages: (d.Size + format.PageSize - 1) / format.PageSize}
	s, err := j.w.BeginSnapshot(b)
	if err != nil {
		return err
	}
	if err := copyPages(s, m, intersect(m.Extents(), []format.Extent{{Count: b.Pages}})); err != nil {
		return err
	}
	return s.End(format.SnapshotEnd{Stamp: format.Stamp{Time: d.Time, Stream: id}, ID: s.ID(), Conditions: format.Conditions{
		Complete: true, CopyStart: d.Time, CopyEnd: d.Time + int64(folded), Examined: b.Pages, Missed: format.Unknown, Method: "ring",
	}})
}

// begin begins to copy an image. That of a disk is not needed where the segment before
// had the disk already.
func (j *joiner) begin(s *segment, own format.StreamID, b *format.SnapshotBegin) error {
	from, err := s.Reader.Snapshot(b.ID)
	if err != nil {
		return err
	}
	if s.skipped[own] {
		return nil
	}
	if from.Info().End == nil {
		j.lose("%s: snapshot %d was never finished and is left out", s.Name, b.ID)
		return nil
	}
	n := *b
	n.ID, n.Parent = 0, s.done[b.Parent]
	s.shots[b.ID], err = j.w.BeginSnapshot(n)
	return err
}

// end copies the pages, which are all there now.
func (j *joiner) end(s *segment, e *format.SnapshotEnd) error {
	w := s.shots[e.ID]
	if w == nil {
		return nil
	}
	delete(s.shots, e.ID)
	from, err := s.Reader.Snapshot(e.ID)
	if err != nil {
		return err
	}
	todo := []format.Extent{{Start: 0, Count: from.Info().Begin.Pages}}
	if changed, known := from.Changed(); known && s.done[from.Info().Begin.Parent] != 0 {
		todo = changed
	}
	for st := format.PageAbsent; st <= format.PageDevice; st++ {
		runs := intersect(from.ExtentsOf(st), todo)
		if st == format.PageData {
			err = copyPages(w, from, runs)
		} else {
			for _, run := range runs {
				err = errors.Join(err, w.State(run, st))
			}
		}
		if err != nil {
			return err
		}
	}
	end := *e
	end.ID = w.ID()
	s.done[e.ID] = end.ID
	return w.End(end)
}

// copyPages copies runs of pages.
func copyPages(w *format.SnapshotWriter, from format.Image, runs []format.Extent) error {
	page := make([]byte, format.PageSize)
	for _, run := range runs {
		for n := run.Start; n < run.Start+run.Count; n++ {
			st, err := from.ReadPage(n, page)
			if err == nil && (st == format.PageData || st == format.PageZero) {
				err = w.Page(n, page)
			} else if err == nil {
				err = w.State(format.Extent{Start: n, Count: 1}, st)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// intersect is what two ascending lists of runs share.
func intersect(a, b []format.Extent) (both []format.Extent) {
	for len(a) > 0 && len(b) > 0 {
		start := max(a[0].Start, b[0].Start)
		endA, endB := a[0].Start+a[0].Count, b[0].Start+b[0].Count
		if end := min(endA, endB); end > start {
			both = append(both, format.Extent{Start: start, Count: end - start})
		}
		if endA <= endB {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return both
}

// attach copies a blob: that of a snapshot, or one of a stream once.
func (j *joiner) attach(s *segment, a *format.Attachment) error {
	if a.Snapshot != 0 {
		w := s.shots[a.Snapshot]
		if w == nil {
			return nil
		}
		a.Snapshot = w.ID()
		return j.w.Write(a)
	}
	sum := sha256.Sum256(bytes.Join([][]byte{fmt.Append(nil, a.Stream), []byte(a.Name), a.Data}, []byte{0}))
	if j.attached[sum] {
		return nil
	}
	j.attached[sum] = true
	return j.w.Write(a)
}
