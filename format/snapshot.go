package format

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Snapshot is one image of a tape. It implements Image.
type Snapshot struct {
	r     *Reader
	info  SnapshotInfo
	pages pageMap
	// why tells, for pages of state PageMissing that no statement made so, what happened.
	why error
}

var (
	errIncomplete = errors.New("the snapshot was not finished: what it does not state is unknown")
	errLostPart   = errors.New("a part of the snapshot is lost")
	errLostParent = errors.New("the snapshot's parent is lost")
)

// Snapshot opens a snapshot. Parts of it may be missing; ReadPage tells which.
func (r *Reader) Snapshot(id uint32) (*Snapshot, error) {
	r.mu.Lock()
	s := r.images[id]
	r.mu.Unlock()
	if s != nil {
		return s, nil
	}
	info := r.snaps[id]
	if info == nil {
		return nil, fmt.Errorf("snapshot %d: %w", id, ErrNoSnapshot)
	}
	// The snapshots it builds on, nearest first, up to one that needs no other.
	var chain []*ownMap
	for at := info; ; {
		o, err := r.ownMap(at)
		if err != nil {
			return nil, err
		}
		chain = append(chain, o)
		if o.full || o.all || at.Begin.Parent == 0 {
			break
		}
		p := r.snaps[at.Begin.Parent]
		if p == nil || p.Begin.ID >= at.Begin.ID || p.Begin.Stream != at.Begin.Stream {
			chain = append(chain, &ownMap{pages: missingRun(at.Begin.Pages), why: errLostParent})
			break
		}
		at = p
	}
	s = &Snapshot{r: r, info: *info}
	for _, o := range slices.Backward(chain) {
		s.pages = overlay(s.pages, o.pages)
		if o.why != nil {
			s.why = o.why
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.images) >= 4 {
		clear(r.images)
	}
	r.images[id] = s
	return s, nil
}

func missingRun(pages uint64) pageMap {
	if pages == 0 {
		return nil
	}
	return pageMap{{start: 0, count: pages, state: PageMissing}}
}

// ownMap is what one snapshot states itself.
type ownMap struct {
	pages pageMap
	full  bool  // it states everything, the parent is not needed
	all   bool  // nothing of the parent shows through
	why   error // why pages are PageMissing in it
}

// ownMap reads a snapshot's map; where the map is lost, or was never written,
// the statements in its pages chunks.
func (r *Reader) ownMap(info *SnapshotInfo) (*ownMap, error) {
	cs := r.parts[info.Begin.ID]
	if cs == nil {
		cs = &snapshotChunks{}
	}
	o := &ownMap{}
	var at uint64
	var holes []Extent
	for _, part := range slices.Sorted(maps.Keys(cs.maps)) {
		c := cs.maps[part]
		if c.pages.Lo < at || c.pages.Hi < c.pages.Lo || c.pages.Limit != info.Begin.Pages {
			continue
		}
		m, err := r.mapChunk(c)
		if errors.Is(err, ErrNoKey) {
			return nil, err
		}
		if err != nil {
			continue
		}
		if c.pages.Lo > at {
			holes = append(holes, Extent{at, c.pages.Lo - at})
		}
		for _, run := range m {
			o.pages.push(run)
		}
		o.full = o.full || c.pages.Full
		at = c.pages.Hi
	}
	if at < info.Begin.Pages {
		holes = append(holes, Extent{at, info.Begin.Pages - at})
	}
	if len(holes) == 0 {
		return o, nil
	}
	st, err := r.statements(info, cs)
	if err != nil {
		return nil, err
	}
	full := o.full // the surviving map chunks state the parent's pages too; the holes do not
	for _, h := range holes {
		o.pages = overlay(o.pages, st.pages.clip(h.Start, h.Start+h.Count))
	}
	o.why, o.all, o.full = st.why, st.all, full && info.Begin.Parent == 0
	return o, nil
}

func (r *Reader) mapChunk(c *chunkInfo) (pageMap, error) {
	b, err := r.body(c)
	if err != nil {
		return nil, err
	}
	m, _, err := parseMapBody(b, c.pages)
	if err != nil {
		return nil, r.note(c, DamageContent, err)
	}
	return m, nil
}

// statements puts a snapshot's map together from its pages chunks. Where one is
// lost, pages that it may have stated are PageMissing: never what an earlier
// statement, or the parent, says of them.
func (r *Reader) statements(info *SnapshotInfo, cs *snapshotChunks) (*ownMap, error) {
	o := &ownMap{}
	var all []pageRun
	var next uint32
	var restated uint64
	lost, final := false, false
	for _, part := range slices.Sorted(maps.Keys(cs.pages)) {
		c := cs.pages[part]
		p, err := r.pack(c)
		if errors.Is(err, ErrNoKey) {
			return nil, err
		}
		if err != nil || c.pages.Limit != info.Begin.Pages {
			continue
		}
		if part != next {
			lost = true
			if c.pages.Restated != restated {
				all = all[:0] // any of them may have been stated anew
			}
		}
		all = append(all, p.runs...)
		next, restated, final = part+1, c.pages.Restated+c.pages.Again, c.pages.Final
	}
	if !final {
		total, ended := r.ending(info, cs)
		if ended {
			lost = true
			if total != restated {
				all = all[:0]
			}
		} else {
			o.why = errIncomplete
		}
	}
	if lost {
		o.why = errLostPart
	}
	o.pages = resolve(all)
	if o.why != nil {
		o.pages = overlay(missingRun(info.Begin.Pages), o.pages)
		o.all = true
	}
	return o, nil
}

// ending reports whether the snapshot is known to have ended, and with how many
// pages stated again; Unknown when nothing says.
func (r *Reader) ending(info *SnapshotInfo, cs *snapshotChunks) (restated uint64, ended bool) {
	for _, c := range cs.maps {
		return c.pages.Restated, true
	}
	for n, e := range r.listed {
		if c, err := newChunkInfo(e.Offset, e.Head); err == nil && c.pages != nil && e.Head.Type == chunkMap && c.pages.Snapshot == info.Begin.ID && n != 0 {
			return c.pages.Restated, true
		}
	}
	// A pages chunk that is there but damaged is lost too.
	for _, c := range cs.pages {
		if c.pages.Final {
			return c.pages.Restated + c.pages.Again, true
		}
	}
	return Unknown, info.End != nil
}

// pack opens a pages chunk.
func (r *Reader) pack(c *chunkInfo) (*packBody, error) {
	if p := r.cache.get(c.head.Number); p != nil {
		return p, nil
	}
	b, err := r.body(c)
	if err != nil {
		return nil, err
	}
	p, err := parsePack(b, c.pages)
	if err != nil {
		return nil, r.note(c, DamageContent, err)
	}
	r.cache.put(c.head.Number, p)
	return p, nil
}

// Info says what the tape says about the snapshot.
func (s *Snapshot) Info() SnapshotInfo { return s.info }

// Extents implements Image.
func (s *Snapshot) Extents() []Extent {
	var out []Extent
	for _, r := range s.pages {
		if r.state != PageData && r.state != PageZero {
			continue
		}
		out = AppendExtent(out, Extent{r.start, r.count})
	}
	return out
}

// ExtentsOf lists the pages in a state, ascending.
func (s *Snapshot) ExtentsOf(st PageState) []Extent {
	var out []Extent
	for _, r := range s.pages {
		if r.state == st {
			out = AppendExtent(out, Extent{r.start, r.count})
		}
	}
	return out
}

// ReadPage implements Image.
func (s *Snapshot) ReadPage(n uint64, dst []byte) (PageState, error) {
	if len(dst) < PageSize {
		return PageMissing, fmt.Errorf("page %d: buffer of %d bytes", n, len(dst))
	}
	dst = dst[:PageSize]
	if told := s.r.opts.OnPage; told != nil {
		told(s.info.Begin.ID, n)
	}
	run, ok := s.pages.find(n)
	if !ok {
		run.state = PageAbsent
	}
	var err error
	switch run.state {
	case PageData:
		run = run.from(n)
		if err = s.r.page(pageLoc{pack: run.pack, slot: run.slot}, dst); err == nil {
			return PageData, nil
		}
	case PageMissing:
		err = s.why
	}
	clear(dst)
	if err != nil {
		return PageMissing, fmt.Errorf("snapshot %d: page %d: %w", s.info.Begin.ID, n, err)
	}
	return run.state, nil
}

// page puts a page together: the content of a slot, and of those it is a
// difference to.
func (r *Reader) page(l pageLoc, dst []byte) error {
	for depth := 0; ; depth++ {
		if depth > maxDelta {
			return errors.New("more differences than the format allows")
		}
		c := r.packs[l.pack]
		if c == nil {
			return fmt.Errorf("pack %d is not on the tape", l.pack)
		}
		p, err := r.pack(c)
		if err != nil {
			return err
		}
		if int(l.slot) >= len(p.bases) {
			return fmt.Errorf("pack %d has %d slots, none %d", l.pack, len(p.bases), l.slot)
		}
		src := p.data[int(l.slot)*PageSize:][:PageSize]
		l = p.bases[l.slot]
		if depth == 0 {
			copy(dst, src)
		} else {
			subtle.XORBytes(dst, dst, src)
		}
		if l.pack == 0 {
			return nil
		}
	}
}

// Changed lists the pages that may differ from the parent; known is false when
// there is no parent, or one of the two is not wholly known.
func (s *Snapshot) Changed() (pages []Extent, known bool) {
	if s.info.Begin.Parent == 0 || s.why != nil {
		return nil, false
	}
	p, err := s.r.Snapshot(s.info.Begin.Parent)
	if err != nil || p.why != nil {
		return nil, false
	}
	return difference(p.pages, s.pages), true
}

// Attachment returns a blob recorded with the snapshot.
func (s *Snapshot) Attachment(name string) ([]byte, bool) {
	for a, err := range s.attachments() {
		if err == nil && a.Name == name {
			return a.Data, true
		}
	}
	return nil, false
}

// Attachments lists the names of the blobs recorded with the snapshot, sorted.
func (s *Snapshot) Attachments() []string {
	var names []string
	for a, err := range s.attachments() {
		if err == nil {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *Snapshot) attachments() func(func(*Attachment, error) bool) {
	q := Query{Streams: []StreamID{s.info.Begin.Stream}, Types: []RecordType{TypeAttachment}, FromSeq: s.info.Begin.Seq}
	return func(yield func(*Attachment, error) bool) {
		for rec, err := range s.r.Records(q) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if a := rec.(*Attachment); a.Snapshot == s.info.Begin.ID && !yield(a, nil) {
				return
			}
		}
	}
}
