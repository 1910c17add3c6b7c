package format

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// ErrSpool is what is wrong with a spool: it is none, is of another tape, or says what
// its tape does not allow. Without it the tape can be salvaged.
var ErrSpool = errors.New("spool")

// Spooled says what salvage had of a spool.
type Spooled struct {
	SHA256   string `json:"sha256"` // of the file
	Snapshot uint32 `json:"snapshot"`
	Pages    uint64 `json:"pages"`  // contents taken from it
	Whole    bool   `json:"whole"`  // the snapshot is complete with them
	Torn     string `json:"torn"`   // where the spool ends before its time; "" where it does not
	Needed   bool   `json:"needed"` // false: the tape had it all
}

// spooled is the end of an unfinished snapshot, from its spool.
type spooled struct {
	r      *spoolReader
	info   *SnapshotInfo
	secret []byte    // that salts are drawn from
	meta   pagesMeta // of the next pages chunk
	before extentSet // stated by chunks of the tape
	stated extentSet // there and here
	here   extentSet
	pack   *pack
	end    *SnapshotEnd
}

// openSpool looks whether the spool is of this tape, and of a snapshot that the tape
// has begun and not ended.
func (s *salvager) openSpool(o SalvageOptions) (*spooled, error) {
	if o.Spool == nil || o.SpoolSize == 0 {
		return nil, nil
	}
	r, tape, id, err := openSpool(o.Spool, o.SpoolSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	if tape != s.r.tape {
		return nil, fmt.Errorf("%w: it is of tape %x, this is %x", ErrSpool, tape, s.r.tape)
	}
	s.report.Spooled = &Spooled{Snapshot: id}
	plain, salted := sha256.New(), sha256.New()
	salted.Write([]byte("salt"))
	if _, err := io.Copy(io.MultiWriter(plain, salted), io.NewSectionReader(o.Spool, 0, o.SpoolSize)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	s.report.Spooled.SHA256 = hex.EncodeToString(plain.Sum(nil))
	info := s.r.snaps[id]
	if info == nil {
		return nil, fmt.Errorf("%w: of snapshot %d, which the tape has not begun", ErrSpool, id)
	}
	if info.End != nil {
		return nil, nil
	}
	s.report.Spooled.Needed = true
	p := &spooled{r: r, info: info, secret: salted.Sum(nil), meta: pagesMeta{
		Stream: info.Begin.Stream, Snapshot: id, Parent: info.Begin.Parent, Limit: info.Begin.Pages,
	}}
	if cs := s.r.parts[id]; cs != nil {
		if err := p.goOn(s.r, cs); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSpool, err)
		}
	}
	return p, nil
}

// goOn continues behind the pages chunks that the tape has of the snapshot.
func (p *spooled) goOn(r *Reader, cs *snapshotChunks) error {
	for _, part := range slices.Sorted(maps.Keys(cs.pages)) {
		c := cs.pages[part]
		p.meta.Part, p.meta.Restated = part+1, c.pages.Restated+c.pages.Again
		body, err := r.pack(c)
		if err != nil {
			return err
		}
		for _, run := range body.runs {
			p.before.add(run.start, run.count)
			p.stated.add(run.start, run.count)
		}
	}
	return nil
}

// readSpool writes what the spool holds in chunks of its own.
func (s *salvager) readSpool() error {
	p := s.spool
	if p == nil {
		return nil
	}
	for id := range s.r.packs {
		p.meta.Pack = max(p.meta.Pack, id)
	}
	p.begin()
	for p.end == nil {
		f, err := p.r.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.report.Spooled.Torn = err.Error()
			}
			break
		}
		if err := s.takeFrame(f); err != nil {
			return err
		}
	}
	s.report.Spooled.Whole = p.end != nil
	return s.cutSpooled()
}

func (p *spooled) begin() {
	p.meta.Pack++
	p.pack = &pack{id: p.meta.Pack}
}

func (s *salvager) takeFrame(f *spoolFrame) error {
	p := s.spool
	p.end = f.ended
	for i, n := range f.pages {
		if n >= p.info.Begin.Pages {
			return fmt.Errorf("%w: page %d: beyond the %d pages of snapshot %d", ErrSpool, n, p.info.Begin.Pages, p.info.Begin.ID)
		}
		if err := s.takePage(n, f.data[i*PageSize:(i+1)*PageSize]); err != nil {
			return err
		}
	}
	for _, r := range f.states {
		if r.count == 0 || r.start >= p.info.Begin.Pages || r.count > p.info.Begin.Pages-r.start {
			return fmt.Errorf("%w: pages %d+%d: beyond the %d pages of snapshot %d", ErrSpool, r.start, r.count, p.info.Begin.Pages, p.info.Begin.ID)
		}
		if err := s.takeRun(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *salvager) takePage(n uint64, data []byte) error {
	p := s.spool
	s.report.Spooled.Pages++
	if IsZero(data) {
		return s.takeRun(pageRun{start: n, count: 1, state: PageZero})
	}
	r := pageRun{start: n, count: 1, state: PageData, pack: p.pack.id, slot: uint32(len(p.pack.bases))}
	p.pack.bases = append(p.pack.bases, pageLoc{})
	p.pack.digests = append(p.pack.digests, sha256.Sum256(data))
	p.pack.data = append(p.pack.data, data...)
	return s.takeRun(r)
}

// takeRun enters a statement into the open chunk.
func (s *salvager) takeRun(r pageRun) error {
	p := s.spool
	p.meta.Again += p.stated.add(r.start, r.count)
	p.here.add(r.start, r.count)
	if k := len(p.pack.runs); k > 0 && p.pack.runs[k-1].continues(&r) {
		p.pack.runs[k-1].count += r.count
	} else {
		p.pack.runs = append(p.pack.runs, r)
	}
	if len(p.pack.data) >= 1<<20 || len(p.pack.runs) >= runsPerChunk {
		return s.cutSpooled()
	}
	return nil
}

// cutSpooled writes the open chunk. The tape's own secret died with its recorder:
// salts are drawn from all that the spool holds, which is as little known.
func (s *salvager) cutSpooled() error {
	p := s.spool
	salt := chunkSalt(p.secret, s.number)
	m, digests := p.meta, p.pack.digests
	m.Slots, m.Final = uint32(len(p.pack.bases)), p.end != nil
	d := &draft{head: chunkHead{Type: chunkPages}, plain: p.pack.encode(salt[:]), meta: func(_ []byte, b bodyMeta) []byte {
		root := slotsRoot(salt, digests)
		m.bodyMeta, m.Commit = b, &root
		return m.append(nil)
	}}
	p.meta.Part++
	p.meta.Restated, p.meta.Again = p.meta.Restated+p.meta.Again, 0
	p.begin()
	return s.emit(d)
}

// lost is what of the pages that the tape alone does not have is not in the spool
// either. What a whole snapshot does not state is as in its parent.
func (p *spooled) lost(r *Reader, alone []Extent) []Extent {
	var parent extentSet
	if p.end != nil {
		if snap, err := r.Snapshot(p.info.Begin.Parent); err == nil {
			parent = snap.unreadable()
		}
	}
	var out []Extent
	for _, e := range alone {
		for n := e.Start; n < e.Start+e.Count; n++ {
			inherited := p.end != nil && !p.before.overlaps(n, 1) && !parent.overlaps(n, 1)
			if !inherited && !p.here.overlaps(n, 1) {
				out = AppendExtent(out, Extent{n, 1})
			}
		}
	}
	return out
}

// writeEnd writes the record that ends a snapshot completed from a spool.
func (s *salvager) writeEnd(t chunkType) error {
	if s.spool == nil || s.spool.end == nil {
		return nil
	}
	e := s.spool.end
	e.ID, e.Stream = s.spool.info.Begin.ID, s.spool.info.Begin.Stream
	if t == chunkRecords {
		s.seq++
		e.Seq = s.seq
	}
	b, err := AppendRecord(nil, e)
	if err != nil {
		return err
	}
	kind := s.r.streams[e.Stream].Kind
	l := lane{kind: kind}
	l.add(b, &e.Stamp, TypeSnapshotEnd, kind, true)
	return s.emit(l.take(t, 0, [saltSize]byte{}))
}
