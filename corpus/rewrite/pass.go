package rewrite

import (
	"fmt"
	"maps"
	"slices"

	"github.com/xentape/xentape/format"
)

// pass is one reading of a tape.
type pass struct {
	r    *format.Reader
	w    *format.Writer
	keep Keep
	open map[uint32]*format.SnapshotWriter // by their old ids
	ids  map[uint32]uint32                 // old id → new; 0 = left out
	// stays holds, by their old ids, the pages of images that are on the new tape
	// where not all are.
	stays map[uint32]map[uint64]bool
	gaps  map[format.StreamID]*format.Gap
	last  int64 // the latest time seen
}

// put writes one record, and what belongs to it.
func (p *pass) put(rec format.Record) error {
	if t := rec.Header().Time; t > p.last {
		p.last = t
	}
	switch rec := rec.(type) {
	case *format.StreamDef:
		id, err := p.w.DefineStream(*rec)
		if err == nil && id != rec.ID {
			err = fmt.Errorf("stream %d would become %d", rec.ID, id)
		}
		return err
	case *format.SnapshotBegin:
		return p.begin(rec)
	case *format.SnapshotEnd:
		return p.end(rec)
	case *format.Attachment:
		if rec.Snapshot != 0 {
			if p.ids[rec.Snapshot] == 0 {
				return nil
			}
			rec.Snapshot = p.ids[rec.Snapshot]
		}
		return p.w.Write(rec)
	case *format.Gap:
		return p.w.Write(rec)
	}
	if p.keep.Record != nil && !p.keep.Record(rec) {
		p.leaveOut(rec)
		return nil
	}
	return p.w.Write(rec)
}

// leaveOut counts a record into its stream's gap.
func (p *pass) leaveOut(rec format.Record) {
	g := p.gap(rec)
	g.Count++
	if d, ok := rec.(*format.DiskRequest); ok && d.Op != format.DiskRead && d.Length > 0 {
		g.Extents = append(g.Extents, format.Extent{Start: d.Offset, Count: d.Length})
	}
}

// gap is that of a record's stream, widened to the record. There is one a stream,
// written at the end of the tape: one for each run of records left out could be larger
// than they were.
func (p *pass) gap(rec format.Record) *format.Gap {
	h := rec.Header()
	g := p.gaps[h.Stream]
	if g == nil {
		g = &format.Gap{Stamp: format.Stamp{Stream: h.Stream}, From: h.Time, To: h.Time, Reason: format.GapRedacted,
			Detail: "left out on purpose: not needed for what this tape is to show"}
		p.gaps[h.Stream] = g
	}
	g.From, g.To = min(g.From, h.Time), max(g.To, h.Time)
	return g
}

func (p *pass) closeGaps() error {
	for _, id := range slices.Sorted(maps.Keys(p.gaps)) {
		g := p.gaps[id]
		g.Time, g.Extents = p.last, format.JoinExtents(g.Extents)
		if err := p.w.Write(g); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) begin(rec *format.SnapshotBegin) error {
	was := rec.ID
	if p.keep.Snapshot != nil {
		s, err := p.r.Snapshot(was)
		if err != nil {
			return err
		}
		if !p.keep.Snapshot(s.Info()) {
			p.ids[was] = 0
			p.leaveOut(rec)
			return nil
		}
	}
	// A parent that was left out is no parent: what is kept is stated in full.
	begin := *rec
	begin.ID, begin.Parent = 0, p.ids[rec.Parent]
	s, err := p.w.BeginSnapshot(begin)
	if err != nil {
		return err
	}
	p.ids[was], p.open[was] = s.ID(), s
	return nil
}

func (p *pass) end(rec *format.SnapshotEnd) error {
	if p.ids[rec.ID] == 0 {
		return nil
	}
	left, err := p.pages(rec.ID)
	if err != nil {
		return err
	}
	end := *rec
	end.ID = p.ids[rec.ID]
	if left > 0 {
		end.Complete = false
		g := p.gap(rec)
		g.Count += left
	}
	return p.open[rec.ID].End(end)
}

// pages writes what a snapshot holds, and returns how many of its pages were left
// out. Where all are kept, of a snapshot with a parent only those that may differ are
// looked at; the writer stores nothing for a page that is as in the parent.
//
// A page that is kept in the parent and has not changed since costs nothing and
// stays: an analyzer that follows what changed does not read it twice.
func (p *pass) pages(id uint32) (left uint64, err error) {
	s, err := p.r.Snapshot(id)
	if err != nil {
		return 0, err
	}
	begin := s.Info().Begin
	todo := []format.Extent{{Start: 0, Count: begin.Pages}}
	before := p.stays[begin.Parent] // nil where the parent was left out
	if changed, known := s.Changed(); known && before != nil {
		if p.keep.Page == nil {
			todo = changed
		}
		before = without(before, changed)
	}
	stays := map[uint64]bool{}
	p.stays[id] = stays
	w := p.open[id]
	page := make([]byte, format.PageSize)
	for _, e := range todo {
		for n := e.Start; n < e.Start+e.Count; n++ {
			st, err := s.ReadPage(n, page)
			if err != nil {
				return left, err
			}
			switch {
			case st == format.PageData && p.keep.Page != nil && !before[n] && !p.keep.Page(id, n):
				left++
				err = w.State(format.Extent{Start: n, Count: 1}, format.PageMissing)
			case st == format.PageData || st == format.PageZero:
				stays[n] = st == format.PageData && p.keep.Page != nil
				err = w.Page(n, page)
			default:
				err = w.State(format.Extent{Start: n, Count: 1}, st)
			}
			if err != nil {
				return left, err
			}
		}
	}
	return left, nil
}

// without returns the pages of a set that are not in some extents.
func without(pages map[uint64]bool, es []format.Extent) map[uint64]bool {
	out := maps.Clone(pages)
	for _, e := range es {
		for n := e.Start; n < e.Start+e.Count; n++ {
			delete(out, n)
		}
	}
	return out
}
