package format

import (
	"fmt"
	"slices"
)

// fullMapEvery is how many snapshots may build on one another before one states
// every page again, so that opening any of them reads few maps.
const fullMapEvery = 16

// runsPerChunk bounds the statements of one chunk.
const runsPerChunk = 1 << 16

// SnapshotWriter writes one image. Its methods may be called while records are
// written and other images are open, but not concurrently with each other.
type SnapshotWriter struct {
	w        *Writer
	begin    SnapshotBegin
	kind     StreamKind
	parent   *snapshotAt // nil when there is none or it is not the stream's latest
	near     int         // where in the parent's map the page before was found
	pack     *pack
	part     uint32
	runs     []pageRun // all statements, in order
	stated   extentSet
	restated uint64 // before the open pack
	again    uint64 // within it
	ended    bool
}

// BeginSnapshot opens an image of a defined stream. Its ID and Seq are assigned.
// Parent, when not 0, must be an ended snapshot of the same stream.
func (w *Writer) BeginSnapshot(b SnapshotBegin) (*SnapshotWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return nil, err
	}
	def, ok := w.streams[b.Stream]
	if !ok {
		return nil, fmt.Errorf("begin snapshot: stream %d: not defined", b.Stream)
	}
	if b.Parent > w.lastID {
		return nil, fmt.Errorf("begin snapshot: parent %d: no such snapshot", b.Parent)
	}
	if b.Pages > 1<<52 {
		return nil, fmt.Errorf("begin snapshot: %d pages: more than 64 bits of address", b.Pages)
	}
	b.ID = w.lastID + 1
	if err := w.append(&b, def.Kind, def.Kind); err != nil {
		return nil, err
	}
	w.lastID = b.ID
	w.cutLane(w.lanes[def.Kind])
	s := &SnapshotWriter{w: w, begin: b, kind: def.Kind}
	if p := w.store.latest[b.Stream]; p != nil && b.Parent == p.id {
		s.parent = p
	}
	w.store.open = append(w.store.open, s)
	return s, nil
}

// ID is the snapshot's number within the tape.
func (s *SnapshotWriter) ID() uint32 { return s.begin.ID }

func (s *SnapshotWriter) check(start, count uint64) error {
	if s.ended {
		return fmt.Errorf("snapshot %d: has ended", s.begin.ID)
	}
	if start > s.begin.Pages || count > s.begin.Pages-start {
		return fmt.Errorf("snapshot %d: pages %d+%d: beyond its %d pages", s.begin.ID, start, count, s.begin.Pages)
	}
	return s.w.ready()
}

// Page states the content of page n: PageSize bytes, which are copied. A page
// may be stated again; the last statement holds.
func (s *SnapshotWriter) Page(n uint64, data []byte) error {
	if len(data) != PageSize {
		return fmt.Errorf("snapshot %d: page %d of %d bytes", s.begin.ID, n, len(data))
	}
	h := s.w.store.hash(data)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.put(n, data, &h)
}

// put states a page that has been hashed. Called with the Writer's lock held.
func (s *SnapshotWriter) put(n uint64, data []byte, h *pageHash) error {
	w, st := s.w, s.w.store
	if err := s.check(n, 1); err != nil {
		return err
	}
	r := pageRun{start: n, count: 1, state: PageZero}
	if !h.zero {
		loc, ok := st.lookup(h.key)
		if !ok {
			loc = s.store(n, data, h)
			st.remember(h.key, loc)
		} else {
			s.settlePack(loc.pack)
		}
		r.state, r.pack, r.slot = PageData, loc.pack, loc.slot
	}
	if !s.asParent(&r) {
		s.state(r)
	}
	return w.checkpointIfDue()
}

// store puts new content into the open pack, as a difference where that is small.
func (s *SnapshotWriter) store(n uint64, data []byte, h *pageHash) pageLoc {
	st := s.w.store
	if s.pack != nil && len(s.pack.data) >= s.w.opts.ChunkSize {
		s.cut()
	}
	p := s.openPack()
	loc := pageLoc{pack: p.id, slot: uint32(len(p.bases))}
	vk := versionKey{s.begin.Stream, n}
	at := len(p.data)
	p.digests = append(p.digests, h.digest)
	if v, ok := st.versions.get(vk); ok && v.loc.depth < maxDelta && differs(v.data, data) < PageSize/8/2 {
		loc.depth = v.loc.depth + 1
		s.settlePack(v.loc.pack)
		p.bases = append(p.bases, v.loc)
		p.data = appendDifference(p.data, v.data, data)
		st.versions.putCopy(vk, data, loc)
		return loc
	}
	p.bases = append(p.bases, pageLoc{})
	p.data = append(p.data, data...)
	st.versions.put(vk, p.data[at:len(p.data):len(p.data)], loc, p.whole)
	return loc
}

// settlePack cuts another snapshot's open pack before this one refers to it: no
// chunk refers to a later one.
func (s *SnapshotWriter) settlePack(id uint32) {
	for _, o := range s.w.store.open {
		if o != s && o.pack != nil && o.pack.id == id {
			o.cut()
		}
	}
}

// asParent reports whether a page is stored where the parent has it, and has not
// been stated yet: then nothing need be said.
func (s *SnapshotWriter) asParent(r *pageRun) bool {
	if s.parent == nil || s.stated.overlaps(r.start, r.count) {
		return false
	}
	p, ok := s.parent.pages.findFrom(&s.near, r.start)
	if !ok || p.end() < r.end() {
		return false
	}
	p = p.from(r.start)
	return p.state == r.state && p.pack == r.pack && p.slot == r.slot
}

// State states pages that have no content on the tape: any state but PageData.
func (s *SnapshotWriter) State(e Extent, st PageState) error {
	if err := checkState(s.begin.ID, st); err != nil {
		return err
	}
	if e.Count == 0 {
		return nil
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := s.check(e.Start, e.Count); err != nil {
		return err
	}
	r := pageRun{start: e.Start, count: e.Count, state: st}
	if !s.asParent(&r) {
		s.state(r)
	}
	return s.w.checkpointIfDue()
}

// checkState refuses states that do not say all there is to say of a page.
func checkState(snapshot uint32, st PageState) error {
	if st == PageData || st > PageDevice {
		return fmt.Errorf("snapshot %d: state %d: not one without content", snapshot, st)
	}
	return nil
}

// Unchanged states pages to be as in the parent. It is the default and stores
// nothing; it exists so that a source can say everything it knows.
func (s *SnapshotWriter) Unchanged(Extent) {}

// packRoom is what a pack's buffer has beyond its contents: a last page, and the
// statements, slot table and salt, which mostly fit.
const packRoom = 16 * PageSize

func (s *SnapshotWriter) openPack() *pack {
	if s.pack == nil {
		s.w.store.lastPack++
		s.pack = &pack{id: s.w.store.lastPack, data: make([]byte, 0, s.w.opts.ChunkSize+packRoom), whole: &versions{}}
	}
	return s.pack
}

func (s *SnapshotWriter) state(r pageRun) {
	p := s.openPack()
	s.again += s.stated.add(r.start, r.count)
	if k := len(p.runs); k > 0 && p.runs[k-1].continues(&r) {
		p.runs[k-1].count += r.count
	} else {
		p.runs = append(p.runs, r)
	}
	if k := len(s.runs); k > 0 && s.runs[k-1].continues(&r) {
		s.runs[k-1].count += r.count
	} else {
		s.runs = append(s.runs, r)
	}
	if len(p.runs) >= runsPerChunk {
		s.cut()
	}
}

func (s *SnapshotWriter) meta() pagesMeta {
	return pagesMeta{
		Stream: s.begin.Stream, Snapshot: s.begin.ID, Parent: s.begin.Parent, Limit: s.begin.Pages,
	}
}

// cut sends the open pack. Called with the Writer's lock held.
func (s *SnapshotWriter) cut() {
	p := s.pack
	if p == nil {
		return
	}
	s.pack = nil
	m := s.meta()
	m.Part, m.Pack, m.Slots, m.Restated, m.Again, m.Final = s.part, p.id, uint32(len(p.bases)), s.restated, s.again, s.ended
	s.part++
	s.restated, s.again = s.restated+s.again, 0
	salt := chunkSalt(s.w.secret[:], s.w.number)
	d := &draft{
		head: chunkHead{Type: chunkPages}, plain: p.encode(salt[:]),
		meta: func(_ []byte, b bodyMeta) []byte {
			root := slotsRoot(salt, p.digests)
			m.bodyMeta, m.Commit = b, &root
			return m.append(nil)
		},
	}
	s.w.submit(d)
	s.w.store.versions.keepPack(p.whole, int64(cap(p.data)), d.done)
}

// End closes the image: its map is written, then the record that says under
// which conditions it was taken. The ID is set here, the Seq assigned.
func (s *SnapshotWriter) End(e SnapshotEnd) error {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := s.check(0, 0); err != nil {
		return err
	}
	s.ended = true
	s.openPack() // the last pages chunk says that it is the last, even when it holds nothing
	s.cut()
	w.store.open = slices.DeleteFunc(w.store.open, func(o *SnapshotWriter) bool { return o == s })
	own := resolve(s.runs)
	at := &snapshotAt{id: s.begin.ID, pages: own}
	full := s.begin.Parent == 0
	if s.parent != nil {
		at.pages = overlay(s.parent.pages, own)
		at.depth = s.parent.depth + 1
		if at.depth >= fullMapEvery {
			full, at.depth = true, 0
		}
	}
	if full {
		own = at.pages
	}
	s.writeMap(own, full)
	if s.begin.Parent == 0 || s.parent != nil {
		w.store.latest[s.begin.Stream] = at
	} else {
		delete(w.store.latest, s.begin.Stream)
	}
	s.runs, s.stated = nil, nil
	e.ID, e.Stream = s.begin.ID, s.begin.Stream
	if err := w.append(&e, s.kind, s.kind); err != nil {
		return err
	}
	w.cutLane(w.lanes[s.kind])
	return w.checkpointIfDue()
}

// writeMap writes the map in chunks that together cover every page number.
func (s *SnapshotWriter) writeMap(m pageMap, full bool) {
	var lo uint64
	for part := uint32(0); ; part++ {
		n := min(len(m), runsPerChunk)
		meta := s.meta()
		meta.Part, meta.Full, meta.Restated, meta.Lo, meta.Hi = part, full, s.restated, lo, s.begin.Pages
		if n < len(m) {
			meta.Hi = m[n].start
		}
		runs, salt := m[:n], chunkSalt(s.w.secret[:], s.w.number)
		s.w.submit(&draft{
			head: chunkHead{Type: chunkMap}, plain: append(appendRuns(nil, runs), salt[:]...),
			meta: func(_ []byte, b bodyMeta) []byte {
				root := runsRoot(salt, runs)
				meta.bodyMeta, meta.Commit = b, &root
				return meta.append(nil)
			},
		})
		m, lo = m[n:], meta.Hi
		if len(m) == 0 {
			return
		}
	}
}
