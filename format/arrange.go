package format

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// SnapshotInfo is what a tape says about one snapshot. End is nil when the
// snapshot was not finished or its end is lost.
type SnapshotInfo struct {
	Begin SnapshotBegin `json:"begin"`
	End   *SnapshotEnd  `json:"end,omitempty"`
}

// arrange orders the table of chunks for reading: lanes, packs, snapshots; names
// what is missing; and reads the records a reader needs to begin. indexed: the
// chunks are those that the index lists.
func (r *Reader) arrange(indexed bool) error {
	slices.SortFunc(r.chunks, func(a, b *chunkInfo) int { return cmp.Compare(a.head.Number, b.head.Number) })
	r.lanes = nil
	r.packs = map[uint32]*chunkInfo{}
	r.parts = map[uint32]*snapshotChunks{}
	for _, c := range r.chunks {
		switch c.head.Type {
		case chunkPages, chunkMap:
			r.arrangePages(c)
		case chunkLoss:
			if b, err := r.body(c); err == nil {
				if l, err := parseLoss(b); err == nil {
					r.losses = append(r.losses, l)
				}
			}
		}
	}
	if indexed {
		if err := r.root(); err != nil {
			return err
		}
	}
	r.arrangeLanes(r.chunks)
	r.nameMissing()
	r.begin()
	return nil
}

// root checks that the hashes of chunks that the index lists, and those of the few
// chunks after it, lead to the root in the footer. From then on each body is
// compared with its chunk's hash when it is read.
func (r *Reader) root() error {
	a := newAuditor(r)
	a.lossy = true // what is to be told of the chunks before has been told
	a.leaves = r.leaves
	for _, c := range r.chunks {
		if _, listed := r.leaves[c.head.Number]; listed && c.head.Type != chunkLoss {
			continue
		}
		var d *Damage
		if err := a.check(c); errors.As(err, &d) {
			return nil // which is told
		} else if err != nil {
			return err
		}
	}
	log, whole := a.treeLog(r.chunks)
	if n := len(log.leaves) - 1; whole && n >= 0 && uint64(n) == r.footer.Size && treeRoot(log.leaves[:n]) == r.footer.Root {
		r.rooted = true
	} else {
		r.note(r.chunks[len(r.chunks)-1], DamageFooter, errRoot)
	}
	return nil
}

var errRoot = errors.New("root of the Merkle log is not that of the chunks")

// maxLanes bounds the lanes of a tape. A Writer makes one for a kind of stream;
// salvage's gap records overlap those and need another.
const maxLanes = 32

// arrangeLanes puts records chunks in the order of their records, behind those
// that are there. Chunks whose records interleave go to different lanes.
func (r *Reader) arrangeLanes(chunks []*chunkInfo) {
	var recs []*chunkInfo
	for _, c := range chunks {
		if c.head.Type == chunkRecords {
			recs = append(recs, c)
		}
	}
	slices.SortStableFunc(recs, func(a, b *chunkInfo) int {
		return cmp.Or(cmp.Compare(a.rec.FirstSeq, b.rec.FirstSeq), cmp.Compare(a.rec.LastSeq, b.rec.LastSeq))
	})
	for _, c := range recs {
		i := slices.IndexFunc(r.lanes, func(l readLane) bool {
			return l.kind == c.rec.Lane && l.chunks[len(l.chunks)-1].rec.LastSeq <= c.rec.FirstSeq
		})
		switch {
		case i >= 0:
			r.lanes[i].chunks = append(r.lanes[i].chunks, c)
		case len(r.lanes) == maxLanes:
			r.note(c, DamageContent, errors.New("its records interleave with those of too many chunks"))
		default:
			r.lanes = append(r.lanes, readLane{kind: c.rec.Lane, chunks: []*chunkInfo{c}})
		}
	}
}

func (r *Reader) arrangePages(c *chunkInfo) {
	m := c.pages
	s := r.parts[m.Snapshot]
	if s == nil {
		s = &snapshotChunks{pages: map[uint32]*chunkInfo{}, maps: map[uint32]*chunkInfo{}}
		r.parts[m.Snapshot] = s
	}
	parts := s.pages
	if c.head.Type == chunkMap {
		parts = s.maps
	}
	if parts[m.Part] == nil {
		parts[m.Part] = c
	}
	if m.Pack != 0 && r.packs[m.Pack] == nil {
		r.packs[m.Pack] = c
	}
}

// nameMissing turns holes in the chunk numbers into damage, joined with the
// bytes of the file that are no chunk, where those lie between the neighbours.
func (r *Reader) nameMissing() {
	last := uint64(0)
	var end int64
	for _, c := range r.chunks {
		if n := c.head.Number; n > last+1 {
			r.missing(last+1, n-1, end, c.off)
		}
		last, end = c.head.Number, c.end()
	}
}

func (r *Reader) missing(from, to uint64, start, end int64) {
	if (from == to && r.noted[from]) || r.accounts(from, to-from+1) {
		return
	}
	if to-from >= 1<<32 {
		r.damage = append(r.damage, &Damage{Kind: DamageMissing, Offset: start, Chunk: from, Chunks: to - from + 1, Detail: "chunk numbers leap"})
		return
	}
	var d *Damage
	for _, o := range r.damage {
		if o.Kind == DamageHeader && o.Offset >= start && o.Offset < end {
			d = o
			break
		}
	}
	if d == nil {
		d = &Damage{Kind: DamageMissing, Offset: start, Length: max(end-start, 0), Detail: fmt.Sprintf("chunks %d to %d are not in the file", from, to)}
		r.damage = append(r.damage, d)
	}
	d.Chunk, d.Chunks = from, to-from+1
	known := true
	for n := from; n <= to && known; n++ {
		e, ok := r.listed[n]
		if known = ok; !ok {
			break
		}
		r.missingListed(d, &e)
	}
	if !known {
		r.bound(d, from, to)
	}
}

// missingListed adds what the index says of a lost chunk.
func (r *Reader) missingListed(d *Damage, e *indexEntry) {
	d.Type = e.Head.Type.String()
	c, err := newChunkInfo(e.Offset, e.Head)
	if err != nil || c.rec == nil || e.Head.Type != chunkRecords {
		return
	}
	var one Damage
	one.records(c)
	if d.FirstSeq == 0 || one.FirstSeq < d.FirstSeq {
		d.FirstSeq = one.FirstSeq
	}
	d.LastSeq = max(d.LastSeq, one.LastSeq)
	d.Lost += one.Lost
	d.Streams = append(d.Streams, one.Streams...)
	slices.Sort(d.Streams)
	d.Streams = slices.Compact(d.Streams)
}

// bound says which records may be lost with chunks that no index lists: those
// not settled before them, up to those settled by the next chunk that tells.
func (r *Reader) bound(d *Damage, from, to uint64) {
	d.FirstSeq, d.LastSeq, d.Lost, d.Streams, d.Type = 1, 0, Unknown, nil, ""
	for _, c := range r.chunks {
		if c.head.Type != chunkRecords {
			continue
		}
		if c.head.Number < from {
			d.FirstSeq = max(d.FirstSeq, c.rec.Settled+1)
		}
		d.LastSeq = max(d.LastSeq, c.rec.LastSeq)
		if c.head.Number > to && c.rec.Settled >= c.rec.LastSeq {
			break
		}
	}
	if d.LastSeq < d.FirstSeq {
		d.FirstSeq, d.LastSeq, d.Lost = 0, 0, 0
	}
}

const beginTypes = 1<<TypeStreamDef | 1<<TypeAnchor | 1<<TypeGap | 1<<TypeSnapshotBegin | 1<<TypeSnapshotEnd

// begin reads stream definitions, anchors, gaps and snapshots: from the copies
// before each index, and from the records themselves where there is no index or
// the copies are damaged.
func (r *Reader) begin() {
	r.streams = map[StreamID]StreamDef{}
	r.snaps = map[uint32]*SnapshotInfo{}
	r.gaps = map[uint64]Gap{}
	r.anchors = map[uint64]Anchor{}
	var interval []*chunkInfo
	whole, last := true, uint64(0)
	for _, c := range r.chunks {
		if c.head.Number != last+1 {
			whole = false
		}
		last = c.head.Number
		interval = append(interval, c)
		if c.head.Type == chunkIndex {
			r.beginInterval(interval, whole)
			interval, whole = interval[:0], true
		}
	}
	r.beginInterval(interval, false)
	r.beginFromMetas(r.chunks)
}

// beginInterval reads the chunks between two indexes. When all are there the
// copies suffice, unless salvage made the interval: it copies its own gaps only,
// as it may not be able to look into the rest.
func (r *Reader) beginInterval(chunks []*chunkInfo, copied bool) {
	for _, c := range chunks {
		if c.head.Type == chunkLoss {
			copied = false
		}
		if c.head.Type == chunkRepeat && !r.takeBegin(c) {
			copied = false
		}
	}
	if copied {
		return
	}
	for _, c := range chunks {
		if c.head.Type == chunkRecords && c.rec.Types&beginTypes != 0 {
			r.takeBegin(c)
		}
	}
}

// takeBegin reads one chunk and reports whether it could.
func (r *Reader) takeBegin(c *chunkInfo) bool {
	b, err := r.body(c)
	if err != nil {
		return false
	}
	return r.eachRecord(c, b, func(rec Record, _ []byte) bool {
		switch rec := rec.(type) {
		case *StreamDef:
			r.streams[rec.ID] = *rec
		case *Anchor:
			r.anchors[rec.Seq] = *rec
		case *Gap:
			r.gaps[rec.Seq] = *rec
		case *SnapshotBegin:
			r.snap(rec.ID).Begin = *rec
		case *SnapshotEnd:
			r.snap(rec.ID).End = rec
		}
		return true
	}) == nil
}

func (r *Reader) snap(id uint32) *SnapshotInfo {
	s := r.snaps[id]
	if s == nil {
		s = &SnapshotInfo{Begin: SnapshotBegin{ID: id}}
		r.snaps[id] = s
	}
	return s
}

// beginFromMetas fills in, from the metas of chunks, streams and snapshots whose
// records are lost.
func (r *Reader) beginFromMetas(chunks []*chunkInfo) {
	for _, c := range chunks {
		switch {
		case c.rec != nil:
			for _, s := range c.rec.Streams {
				if _, ok := r.streams[s.ID]; !ok && s.ID != 0 {
					r.streams[s.ID] = StreamDef{ID: s.ID, Kind: s.Kind, Name: "?", DomID: 0xffff}
				}
			}
		case c.pages != nil:
			m := c.pages
			s := r.snap(m.Snapshot)
			if s.Begin.Seq == 0 {
				s.Begin.Stream, s.Begin.Parent, s.Begin.Pages = m.Stream, m.Parent, m.Limit
			}
		}
	}
}
