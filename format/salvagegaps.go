package format

import (
	"fmt"
	"slices"
)

// addGap gives a gap the next sequence number.
func (s *salvager) addGap(g Gap) {
	s.seq++
	g.Seq = s.seq
	s.gaps = append(s.gaps, g)
}

// findLost finds the numbers that no record has and puts gap records there.
func (s *salvager) findLost() {
	next, last := uint64(1), int64(0)
	for e := range s.elements() {
		t := e.rec.Header().Time
		if e.seq > next {
			s.lostRun(next, e.seq-1, last, t)
		}
		next, last = e.seq+1, t
	}
	end := max(next-1, s.seq)
	if f := s.r.footer; f != nil {
		end = max(end, f.LastSeq)
	}
	for _, e := range s.listed {
		if c, err := newChunkInfo(e.Offset, e.Head); err == nil && c.rec != nil {
			end = max(end, c.rec.LastSeq)
		}
	}
	if end >= next {
		s.lostRun(next, end, last, last)
	}
	s.seq = max(s.seq, end)
}

// lostRun records numbers first to last as lost. One gap record stands for them,
// of the stream they were of when only one can be meant; of the tape otherwise.
func (s *salvager) lostRun(first, last uint64, from, to int64) {
	s.loss.Records = append(s.loss.Records, lostRecords{First: first, Last: last, Count: last - first + 1})
	if (&Reader{losses: s.before}).lostRange(first, last) {
		return // and has its gap record
	}
	s.report.LostRecords += last - first + 1
	g := Gap{
		Stamp: Stamp{Seq: first, Time: from}, From: from, To: max(from, to), Reason: GapDamage, Count: last - first + 1,
		Detail: fmt.Sprintf("records %d to %d are lost: the tape was damaged", first, last),
	}
	var streams []StreamID
	known := false
	for _, d := range s.r.damage {
		if d.LastSeq >= first && d.FirstSeq <= last && d.LastSeq != 0 {
			known = len(d.Streams) > 0
			streams = append(streams, d.Streams...)
			if !known {
				break
			}
		}
	}
	slices.Sort(streams)
	if streams = slices.Compact(streams); known && len(streams) == 1 {
		g.Stream = streams[0]
	}
	s.gaps = append(s.gaps, g)
}

// findLostPages records which pages of which snapshots cannot be had any more.
func (s *salvager) findLostPages() {
	for _, info := range s.r.Snapshots() {
		snap, err := s.r.Snapshot(info.Begin.ID)
		if err != nil {
			continue
		}
		lost := snap.unreadable()
		if s.spool != nil && info.Begin.ID == s.spool.info.Begin.ID {
			lost = s.spool.lost(s.r, lost)
		}
		if len(lost) == 0 {
			continue
		}
		g := Gap{
			Stamp: Stamp{Time: s.time, Stream: info.Begin.Stream}, From: info.Begin.Time, To: info.Begin.Time, Reason: GapDamage, Extents: lost,
			Detail: fmt.Sprintf("pages of snapshot %d are lost: the tape was damaged", info.Begin.ID),
		}
		for _, e := range lost {
			g.Count += e.Count
		}
		s.report.LostPages += g.Count
		if len(g.Extents) > MaxExtents {
			g.Extents = g.Extents[:MaxExtents]
			g.Detail += "; the list is cut short"
		}
		s.addGap(g)
	}
}

// unreadable lists the pages that should be there and are not: without their
// pack, or with a lost one among those they are a difference to.
func (s *Snapshot) unreadable() []Extent {
	var out []Extent
	add := func(n, count uint64) {
		out = AppendExtent(out, Extent{n, count})
	}
	for _, run := range s.pages {
		switch run.state {
		case PageMissing:
			add(run.start, run.count)
		case PageData:
			for i := range run.count {
				if !s.r.reachable(pageLoc{pack: run.pack, slot: run.slot + uint32(i)}) {
					add(run.start+i, 1)
				}
			}
		}
	}
	return out
}

// reachable reports whether everything a page is put together from is there.
func (r *Reader) reachable(l pageLoc) bool {
	for range maxDelta + 1 {
		c := r.packs[l.pack]
		if c == nil {
			return false
		}
		p, err := r.pack(c)
		if err != nil || int(l.slot) >= len(p.bases) {
			return false
		}
		if l = p.bases[l.slot]; l.pack == 0 {
			return true
		}
	}
	return false
}

// boundLost records, without looking into content, how many records at most are
// lost with each damage.
func (s *salvager) boundLost() {
	var present uint64
	for _, c := range s.r.chunks {
		if c.head.Type == chunkRecords {
			present += c.rec.Count
		}
	}
	end := s.seq
	if f := s.r.footer; f != nil {
		end = max(end, f.LastSeq)
	}
	s.seq = end
	if present >= end {
		return
	}
	s.loss.Records = append(s.loss.Records, lostRecords{First: 1, Last: end, Count: end - present})
	s.report.LostRecords = end - present
	s.addGap(Gap{
		Stamp: Stamp{Time: s.time}, From: s.time, To: s.time, Reason: GapDamage, Count: end - present,
		Detail: "the tape was damaged; its content is sealed, so that it cannot be said which records are lost",
	})
}

// writeGaps writes the gap records: once as records, once as the copies a reader
// begins with.
func (s *salvager) writeGaps(t chunkType) error {
	var l lane
	l.kind = StreamTape
	flush := func() error {
		if l.empty() {
			return nil
		}
		d := l.take(t, 0, [saltSize]byte{})
		return s.emit(d)
	}
	slices.SortStableFunc(s.gaps, func(a, b Gap) int { return int(int64(a.Seq) - int64(b.Seq)) })
	if t == chunkRecords {
		s.report.Gaps = uint64(len(s.gaps))
	}
	for i := range s.gaps {
		g := &s.gaps[i]
		b, err := AppendRecord(nil, g)
		if err != nil {
			return err
		}
		if !l.empty() && (len(l.body)+len(b) > 1<<20 || len(l.streams) >= maxStreamsPerChunk) {
			if err := flush(); err != nil {
				return err
			}
		}
		l.add(b, &g.Stamp, TypeGap, s.r.streams[g.Stream].Kind, true)
	}
	return flush()
}
