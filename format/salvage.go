package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"
)

// SalvageOptions say how a tape is saved.
type SalvageOptions struct {
	// Identities let salvage look into sealed content: without them it cannot
	// tell which records are lost with a chunk that no index lists, nor which
	// pages, and says only how many at most.
	Identities []age.Identity
	Signer     *SigningKey // signs the new tree head; evolves
	// Spool is the file beside the tape that its name with SpoolSuffix names: what
	// was read of the last snapshot and is not on the tape. nil: there is none. An
	// error with ErrSpool is its own.
	Spool     io.ReaderAt
	SpoolSize int64
}

// SalvageReport says what was saved and what was not.
type SalvageReport struct {
	SourceSize   int64    `json:"source_size"`
	SourceSHA256 string   `json:"source_sha256"`
	Chunks       uint64   `json:"chunks"`      // copied, byte for byte
	LostChunks   uint64   `json:"lost_chunks"` // by number
	Records      uint64   `json:"records"`
	LostRecords  uint64   `json:"lost_records"`
	LostPages    uint64   `json:"lost_pages"` // pages of snapshots that cannot be had any more
	Gaps         uint64   `json:"gaps"`       // gap records written
	WasSealed    bool     `json:"was_sealed"`
	Spooled      *Spooled `json:"spooled,omitempty"` // what the spool had
	Damage       []Damage `json:"damage"`            // of the source
	Unread       uint64   `json:"unread_chunks"`
}

// Whole reports whether nothing is missing: no chunk, record or page is lost, and
// the recording was completed, so that it is known where it ends.
func (r *SalvageReport) Whole() bool {
	return r.WasSealed && r.LostChunks == 0 && r.LostRecords == 0 && r.LostPages == 0
}

// salvager rewrites a tape.
type salvager struct {
	r       *Reader
	a       *auditor
	em      *emitter
	report  *SalvageReport
	number  uint64
	seq     uint64
	time    int64
	loss    loss
	gaps    []Gap
	listed  map[uint64]indexEntry
	before  []*loss             // what an earlier salvage recorded
	dropped map[uint64][32]byte // hashes of intact chunks left out
	spool   *spooled            // nil: nothing is to be had of one
}

// Salvage writes to dst a complete tape of what survives in src. Chunks are
// copied byte for byte under their own numbers, so that signatures made over
// them before still hold; what is lost is listed in a loss chunk and stands in
// the sequence as gap records. An undamaged, complete tape is copied as it is.
func Salvage(dst io.Writer, src io.ReaderAt, size int64, o SalvageOptions) (*SalvageReport, error) {
	r, err := openScanned(src, size, o.Identities)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(src, 0, size)); err != nil {
		return nil, fmt.Errorf("read tape: %w", err)
	}
	s := &salvager{r: r, a: newAuditor(r), report: &SalvageReport{SourceSize: size, WasSealed: r.sealed}, dropped: map[uint64][32]byte{}}
	s.loss.SourceSize = uint64(size)
	h.Sum(s.loss.SourceHash[:0])
	s.report.SourceSHA256 = hex.EncodeToString(s.loss.SourceHash[:])
	if r.sealed && len(r.Damage()) == 0 {
		v, err := Verify(src, size, VerifyOptions{Identities: o.Identities})
		if err != nil {
			return nil, err
		}
		if v.OK {
			s.report.Chunks, s.report.Records, s.report.Unread = v.Chunks, v.Records, v.Unread
			_, err := io.Copy(dst, io.NewSectionReader(src, 0, size))
			return s.report, err
		}
	}
	if err := s.choose(); err != nil {
		return nil, err
	}
	if s.spool, err = s.openSpool(o); err != nil {
		return nil, err
	}
	enc, err := newEncoder()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	s.em = &emitter{w: dst, packer: packer{enc: enc}, header: r.header, signer: o.Signer}
	if n := len(s.a.checkpoints); n > 0 {
		s.em.note = s.a.checkpoints[n-1].note
	}
	if o.Signer != nil {
		s.loss.Signer = o.Signer.Public()
	}
	if err := s.write(); err != nil {
		return nil, err
	}
	s.report.Damage, s.report.Unread = r.Damage(), s.a.unread
	return s.report, nil
}

// choose leaves in the table only what goes to the new tape.
func (s *salvager) choose() error {
	r, a := s.r, s.a
	a.lossy = len(r.Damage()) > 0 || len(r.losses) > 0
	s.listed, s.before = r.listed, r.losses
	for _, l := range r.losses {
		for _, c := range l.Chunks {
			for i, h := range c.Leaves {
				s.dropped[c.First+uint64(i)] = h
			}
		}
	}
	var keep []*chunkInfo
	last := int64(0)
	for _, c := range r.chunks {
		err := a.check(c)
		var d *Damage
		switch {
		case err != nil && !errors.As(err, &d):
			return err
		case err == nil && c.off < last:
			err = r.note(c, DamageContent, errors.New("chunk lies before the one with the number before"))
		case err == nil && (c.head.Type == chunkFooter || c.head.Type == chunkLoss):
			s.drop(c) // written anew
			continue
		}
		if err != nil {
			s.drop(c)
			a.lossy = true
			continue
		}
		last = c.off
		keep = append(keep, c)
	}
	keep = s.dropCheckpoints(keep)
	s.keep(keep)
	if a.unread == 0 {
		s.dropTwice()
	}
	return nil
}

func (s *salvager) drop(c *chunkInfo) {
	if h, ok := s.a.leaves[c.head.Number]; ok {
		s.dropped[c.head.Number] = h
	}
}

// keep makes chunks the whole table, and reads from them what a reader needs.
func (s *salvager) keep(chunks []*chunkInfo) {
	r := s.r
	r.chunks = chunks
	r.byNum = map[uint64]*chunkInfo{}
	for _, c := range chunks {
		r.byNum[c.head.Number] = c
	}
	r.images = map[uint32]*Snapshot{}
	damage := r.damage
	r.losses = nil
	_ = r.arrange(false) // names missing chunks again, which the loss chunk now lists
	r.damage = damage
}

// dropCheckpoints leaves out tree heads that do not hold: wrong root where it can
// be told, or wrong signature.
func (s *salvager) dropCheckpoints(chunks []*chunkInfo) []*chunkInfo {
	v := &VerifyReport{}
	s.a.lossy = true
	var l loss
	last := uint64(0)
	for _, c := range chunks {
		l.Chunks = append(l.Chunks, s.lostBetween(last, c.head.Number)...)
		last = c.head.Number
	}
	s.r.losses = []*loss{&l}
	log, whole := s.a.treeLog(chunks)
	sizes := map[uint64]bool{}
	for _, c := range s.a.checkpoints {
		sizes[c.cp.size] = true
	}
	v.checkpoints(s.r, s.a, log, log.roots(sizes), whole, last+1, nil)
	bad := map[uint64]bool{}
	for _, c := range v.Checkpoints {
		bad[c.Chunk] = strings.HasPrefix(c.State, "bad")
	}
	return slices.DeleteFunc(chunks, func(c *chunkInfo) bool {
		if bad[c.head.Number] {
			s.drop(c)
		}
		return bad[c.head.Number]
	})
}

// dropTwice leaves out chunks with records whose numbers other chunks have, or
// that an earlier chunk claimed to be settled.
func (s *salvager) dropTwice() {
	bad := map[uint64]bool{}
	settled := map[uint64]uint64{}
	var claim uint64
	for _, c := range s.r.chunks {
		if c.head.Type == chunkRecords {
			settled[c.head.Number] = claim
			claim = max(claim, c.rec.Settled)
		}
	}
	last := uint64(0)
	for e := range s.elements() {
		if e.seq <= last || e.seq <= settled[e.chunk] {
			bad[e.chunk] = true
		}
		last = max(last, e.seq)
	}
	if len(bad) == 0 {
		return
	}
	s.keep(slices.DeleteFunc(s.r.chunks, func(c *chunkInfo) bool {
		if bad[c.head.Number] {
			s.drop(c)
		}
		return bad[c.head.Number]
	}))
}

// elements iterates over the records of the table.
func (s *salvager) elements() func(func(element) bool) {
	return func(yield func(element) bool) {
		q := (&Query{}).bounds()
		m := newMerge(s.r, &q)
		m.raw, m.holes = true, nil
		for {
			e, ok := m.next()
			if !ok {
				return
			}
			if e.err == nil && !yield(e) {
				return
			}
		}
	}
}

// write writes the new tape.
func (s *salvager) write() error {
	if _, err := io.WriteString(s.em.w, Magic); err != nil {
		return fmt.Errorf("write magic: %w", err)
	}
	s.em.offset = int64(len(Magic))
	for _, c := range s.r.chunks {
		if err := s.copy(c); err != nil {
			return err
		}
	}
	if err := s.readSpool(); err != nil {
		return err
	}
	if s.a.unread == 0 {
		s.findLost()
		s.findLostPages()
	} else {
		s.boundLost()
	}
	if !s.r.sealed {
		s.addGap(Gap{Stamp: Stamp{Time: s.time}, From: s.time, To: s.time, Count: Unknown, Reason: GapDamage, Detail: "the tape has no intact end: what came after this is not known"})
	}
	for _, kind := range [...]chunkType{chunkRecords, chunkRepeat} {
		if err := s.writeGaps(kind); err != nil {
			return err
		}
		if err := s.writeEnd(kind); err != nil {
			return err
		}
	}
	plain := s.loss.append(nil)
	if len(plain) > MaxChunk {
		return errors.New("more is lost than a loss chunk can list")
	}
	if err := s.emit(&draft{head: chunkHead{Type: chunkLoss}, plain: plain, meta: func(_ []byte, b bodyMeta) []byte { return b.append(nil) }}); err != nil {
		return err
	}
	for _, epoch := range slices.Sorted(maps.Keys(s.r.keys)) {
		for i, k := range s.r.keys[epoch] {
			if i == 0 || !bytes.Equal(k.Age, s.r.keys[epoch][i-1].Age) {
				s.em.keys = append(s.em.keys, k)
			}
		}
	}
	for more := true; more; more = len(s.em.fresh) > 1 {
		if err := s.emit(&draft{head: chunkHead{Type: chunkIndex}, build: (*emitter).buildIndex}); err != nil {
			return err
		}
	}
	if err := s.emit(&draft{head: chunkHead{Type: chunkCheckpoint}, build: (*emitter).buildCheckpoint}); err != nil {
		return err
	}
	return s.emit(&draft{head: chunkHead{Type: chunkFooter}, build: func(e *emitter, d *draft) error { return e.buildFooter(d, s.seq) }})
}

// emit writes a new chunk under the next number.
func (s *salvager) emit(d *draft) error {
	s.number++
	d.head.Number, d.head.Tape = s.number, s.r.tape
	if d.build == nil {
		s.em.pack(d)
		d.done = make(chan struct{})
		close(d.done)
	}
	s.em.emit(d)
	return s.em.failed()
}

// copy writes a chunk as it is; the numbers missing before it are lost.
func (s *salvager) copy(c *chunkInfo) error {
	s.lose(c.head.Number)
	raw := make([]byte, c.head.length())
	if _, err := s.r.src.ReadAt(raw, c.off); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read tape at byte %d: %w", c.off, err)
	}
	d := &draft{head: c.head, out: raw, leaf: s.a.leaves[c.head.Number], done: make(chan struct{})}
	close(d.done)
	s.em.emit(d)
	s.number = c.head.Number
	s.report.Chunks++
	if c.head.Type == chunkRecords {
		s.report.Records += c.rec.Count
		s.seq = max(s.seq, c.rec.LastSeq, c.rec.Settled)
		s.time = max(s.time, c.rec.MaxTime)
	}
	return s.em.failed()
}

// lose lists the numbers from the last one written up to next as lost.
func (s *salvager) lose(next uint64) {
	for _, g := range s.lostBetween(s.number, next) {
		s.loss.Chunks = append(s.loss.Chunks, g)
		s.report.LostChunks += g.Count
		if g.Leaves == nil {
			s.em.tree.add([32]byte{})
		}
		for _, h := range g.Leaves {
			s.em.tree.add(h)
		}
	}
}

// lostBetween lists the numbers between last and next as runs of which either
// all hashes are known or none.
func (s *salvager) lostBetween(last, next uint64) []lostChunks {
	var out []lostChunks
	for n := last + 1; n < next; {
		g := lostChunks{First: n}
		h, known := s.leafOf(n)
		if !known {
			end := next
			for k := range s.knownFrom(n) {
				end = min(end, k)
			}
			g.Count, n = end-n, end
			out = append(out, g)
			continue
		}
		for known && n < next {
			g.Leaves = append(g.Leaves, h)
			g.Count++
			n++
			h, known = s.leafOf(n)
		}
		out = append(out, g)
	}
	return out
}

func (s *salvager) leafOf(n uint64) ([32]byte, bool) {
	if h, ok := s.dropped[n]; ok {
		return h, true
	}
	e, ok := s.listed[n]
	return e.Leaf, ok
}

// knownFrom yields the numbers above n whose hashes are known.
func (s *salvager) knownFrom(n uint64) func(func(uint64) bool) {
	return func(yield func(uint64) bool) {
		for k := range s.dropped {
			if k > n && !yield(k) {
				return
			}
		}
		for k := range s.listed {
			if k > n && !yield(k) {
				return
			}
		}
	}
}
