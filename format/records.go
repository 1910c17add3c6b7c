package format

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
)

// Query selects records. The zero Query selects all.
type Query struct {
	Streams          []StreamID   // of these streams; nil: of all
	Kinds            []StreamKind // of streams of these kinds; nil: of all
	Types            []RecordType // of these types; nil: of all
	FromTime, ToTime int64        // source times, inclusive; ToTime 0 is no bound
	FromSeq, ToSeq   uint64       // sequence numbers, inclusive; ToSeq 0 is no bound
}

func (q *Query) bounds() Query {
	b := *q
	if b.ToTime == 0 {
		b.ToTime = math.MaxInt64
	}
	if b.FromTime == 0 {
		b.FromTime = math.MinInt64
	}
	if b.ToSeq == 0 {
		b.ToSeq = math.MaxUint64
	}
	return b
}

func (q *Query) matchChunk(m *recordsMeta) bool {
	if m.LastSeq < q.FromSeq || m.FirstSeq > q.ToSeq || m.MaxTime < q.FromTime || m.MinTime > q.ToTime {
		return false
	}
	if len(q.Types) > 0 && !slices.ContainsFunc(q.Types, m.hasType) {
		return false
	}
	return slices.ContainsFunc(m.Streams, func(s streamCount) bool { return q.matchStream(s.ID, s.Kind) })
}

func (q *Query) matchStream(id StreamID, k StreamKind) bool {
	return (len(q.Streams) == 0 || slices.Contains(q.Streams, id)) && (len(q.Kinds) == 0 || slices.Contains(q.Kinds, k))
}

func (q *Query) match(s *Stamp, t RecordType, kind StreamKind) bool {
	return s.Seq >= q.FromSeq && s.Seq <= q.ToSeq && s.Time >= q.FromTime && s.Time <= q.ToTime &&
		(len(q.Types) == 0 || slices.Contains(q.Types, t)) && q.matchStream(s.Stream, kind)
}

// Settled is the sequence number up to which the file holds every record that
// was written, damage aside: a reader that follows a growing tape asks for
// records up to it, and later for those after it.
func (r *Reader) Settled() uint64 {
	var n uint64
	for _, c := range r.chunks {
		if c.head.Type == chunkRecords {
			n = max(n, c.rec.Settled)
		}
	}
	return n
}

// Records iterates over the records a query selects, in the order of their
// sequence numbers. Where records are lost an error element stands (a *Damage,
// or ErrNoKey wrapped) and iteration goes on. A record's slices are valid as
// long as it is kept; they must not be written to. That a tape is unfinished
// is no error: see Sealed and Damage.
func (r *Reader) Records(q Query) iter.Seq2[Record, error] {
	b := q.bounds()
	return func(yield func(Record, error) bool) {
		m := newMerge(r, &b)
		for {
			e, ok := m.next()
			if !ok || !yield(e.rec, e.err) {
				return
			}
		}
	}
}

// merge joins the lanes by sequence number.
type merge struct {
	r     *Reader
	q     *Query
	lanes []*laneCursor
	raw   bool      // also records of unknown type
	holes []*Damage // lost records of no lane, by first sequence number
}

// laneCursor reads one lane, chunk by chunk.
type laneCursor struct {
	chunks []*chunkInfo
	ready  []element // of the open chunk, ascending
	parts  *partial
	// lost tells of an attachment that salvage recorded it as lost: then there
	// is a gap record in its place, and no error.
	lost func(seq uint64) bool
}

// giveUp tells that an attachment is not whole.
func (l *laneCursor) giveUp(chunk uint64) {
	if p := l.parts; !l.lost(p.Seq) {
		l.ready = append(l.ready, element{seq: p.Seq, err: p.short(), chunk: chunk})
	}
	l.parts = nil
}

// element is a record or an error at a place in the sequence.
type element struct {
	seq   uint64
	rec   Record
	err   error
	chunk uint64
}

func newMerge(r *Reader, q *Query) *merge {
	m := &merge{r: r, q: q}
	for _, l := range r.lanes {
		var cs []*chunkInfo
		for _, c := range l.chunks {
			if q.matchChunk(c.rec) {
				cs = append(cs, c)
			}
		}
		if len(cs) > 0 {
			m.lanes = append(m.lanes, &laneCursor{chunks: cs, lost: func(seq uint64) bool { return r.lostRange(seq, seq) }})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.damage {
		if d.LastSeq != 0 && d.LastSeq >= q.FromSeq && d.FirstSeq <= q.ToSeq && r.byNum[d.Chunk] == nil && m.concerns(d) {
			m.holes = append(m.holes, d)
		}
	}
	slices.SortStableFunc(m.holes, func(a, b *Damage) int { return cmp.Compare(a.FirstSeq, b.FirstSeq) })
	return m
}

// concerns reports whether damage may have cost records of the query's streams.
func (m *merge) concerns(d *Damage) bool {
	return len(d.Streams) == 0 || slices.ContainsFunc(d.Streams, func(id StreamID) bool {
		return m.q.matchStream(id, m.r.streams[id].Kind)
	})
}

// next returns the next element; ok is false at the end.
func (m *merge) next() (e element, ok bool) {
	var best *laneCursor
	for _, l := range m.lanes {
		if best != nil && l.waits(best.ready[0].seq) {
			continue
		}
		m.fill(l)
		if len(l.ready) > 0 && (best == nil || l.ready[0].seq < best.ready[0].seq) {
			best = l
		}
	}
	if len(m.holes) > 0 && (best == nil || m.holes[0].FirstSeq <= best.ready[0].seq) {
		d := m.holes[0]
		m.holes = m.holes[1:]
		return element{seq: d.FirstSeq, err: d}, true
	}
	if best == nil {
		return element{}, false
	}
	e = best.ready[0]
	best.ready = best.ready[1:]
	return e, true
}

// waits reports whether the lane's next chunk need not be opened yet, because
// it begins after seq.
func (l *laneCursor) waits(seq uint64) bool {
	return len(l.ready) == 0 && l.parts == nil && len(l.chunks) > 0 && l.chunks[0].rec.FirstSeq > seq
}

// fill opens chunks until the lane has an element or has ended.
func (m *merge) fill(l *laneCursor) {
	for len(l.ready) == 0 && len(l.chunks) > 0 {
		c := l.chunks[0]
		l.chunks = l.chunks[1:]
		m.open(l, c)
	}
	if len(l.ready) == 0 && l.parts != nil {
		l.giveUp(0)
	}
}

func (m *merge) open(l *laneCursor, c *chunkInfo) {
	b, err := m.r.body(c)
	if err != nil {
		l.ready = append(l.ready, element{seq: c.rec.FirstSeq, err: err, chunk: c.head.Number})
		return
	}
	kinds := map[StreamID]StreamKind{}
	for _, s := range c.rec.Streams {
		kinds[s.ID] = s.Kind
	}
	n := len(l.ready)
	err = m.r.eachRecord(c, b, func(rec Record, _ []byte) bool {
		s := rec.Header()
		if p, ok := rec.(*attachmentPart); ok {
			if !m.q.match(s, TypeAttachment, kinds[s.Stream]) {
				return true
			}
			l.join(p, c.head.Number)
			return true
		}
		if _, ok := rec.(*unknownRecord); ok && !m.raw {
			return true
		}
		if m.q.match(s, TypeOf(rec), kinds[s.Stream]) {
			l.ready = append(l.ready, element{seq: s.Seq, rec: rec, chunk: c.head.Number})
		}
		return true
	})
	if err != nil {
		// A chunk that contradicts itself is not believed in part.
		l.ready = append(l.ready[:n], element{seq: c.rec.FirstSeq, err: err, chunk: c.head.Number})
		l.parts = nil
	}
}

// partial is an attachment of which not all parts have come.
type partial struct {
	Attachment
	total uint64
}

func (p *partial) short() error {
	return &Damage{
		Kind: DamageMissing, FirstSeq: p.Seq, LastSeq: p.Seq, Lost: 1, Streams: []StreamID{p.Stream},
		Detail: fmt.Sprintf("attachment %q: %d of %d bytes are there", p.Name, len(p.Data), p.total),
	}
}

// join puts the parts of an attachment together.
func (l *laneCursor) join(p *attachmentPart, chunk uint64) {
	if o := l.parts; o != nil && (o.Seq != p.Seq || p.offset != uint64(len(o.Data)) || p.total != o.total) {
		l.giveUp(chunk)
		if o.Seq == p.Seq {
			return // the parts that follow belong to what is already told
		}
	}
	switch {
	case p.whole():
		l.ready = append(l.ready, element{seq: p.Seq, rec: &p.Attachment, chunk: chunk})
		return
	case l.parts != nil:
		l.parts.Data = append(l.parts.Data, p.Data...)
	case p.offset == 0:
		l.parts = &partial{Attachment: p.Attachment, total: p.total}
		l.parts.Data = slices.Clone(p.Data)
	default:
		return // its beginning was in a chunk that is lost, and told as such
	}
	if o := l.parts; uint64(len(o.Data)) == o.total {
		l.ready = append(l.ready, element{seq: o.Seq, rec: &o.Attachment, chunk: chunk})
		l.parts = nil
	}
}

// eachRecord decodes the records of a chunk and checks them against its meta,
// so that a chunk that says one thing and holds another is damage. stored is
// the record's encoding.
func (r *Reader) eachRecord(c *chunkInfo, body []byte, do func(rec Record, stored []byte) bool) error {
	m := c.rec
	if len(body) < saltSize {
		return r.note(c, DamageContent, errors.New("no salt"))
	}
	d := &decoder{b: body[saltSize:]}
	kinds := map[StreamID]bool{}
	for _, s := range m.Streams {
		kinds[s.ID] = true
	}
	var last, count uint64
	for len(d.b) > 0 {
		b := d.bytes("record")
		if d.err != nil {
			return r.note(c, DamageContent, d.err)
		}
		rec, err := parseStored(b)
		if err != nil {
			return r.note(c, DamageContent, err)
		}
		s := rec.Header()
		p, part := rec.(*attachmentPart)
		begins := !part || p.offset == 0
		switch {
		case s.Seq < m.FirstSeq || s.Seq > m.LastSeq, s.Time < m.MinTime || s.Time > m.MaxTime, !kinds[s.Stream]:
			return r.note(c, DamageContent, fmt.Errorf("record %d is not one its chunk announces", s.Seq))
		case begins && s.Seq <= last && c.head.Type == chunkRecords:
			return r.note(c, DamageContent, fmt.Errorf("record %d comes after record %d", s.Seq, last))
		}
		last = s.Seq
		if begins {
			count++
		}
		if !do(rec, b) {
			return nil
		}
	}
	if count != m.Count {
		return r.note(c, DamageContent, fmt.Errorf("%d records begin in the chunk, it announces %d", count, m.Count))
	}
	return nil
}
