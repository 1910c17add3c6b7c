package format

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

// VerifyOptions say what Verify can look at and whom it trusts.
type VerifyOptions struct {
	Identities []age.Identity // look into sealed content too
	// TrustedKeys are Ed25519 public keys one of which must have begun the
	// tape's line of signatures. Empty: signatures are checked against the key
	// the tape itself names, which shows that nothing was changed after it was
	// signed, not who signed.
	TrustedKeys [][]byte
}

// VerifyReport is what Verify found.
type VerifyReport struct {
	TapeID    string `json:"tape_id"`
	Size      int64  `json:"size"`
	OK        bool   `json:"ok"`       // every byte is accounted for and nothing contradicts; what is lost is recorded as lost
	Complete  bool   `json:"complete"` // sealed, and nothing recorded as lost by salvage
	Sealed    bool   `json:"sealed"`
	Encrypted bool   `json:"encrypted"`
	Chunks    uint64 `json:"chunks"`
	Records   uint64 `json:"records"`
	LastSeq   uint64 `json:"last_seq"`
	// Unread counts chunks whose content is encrypted and was checked only from outside.
	Unread  uint64         `json:"unread_chunks"`
	Unknown uint64         `json:"unknown_chunks"` // ancillary chunks this version does not know
	Streams []StreamReport `json:"streams"`
	// TreeSize and Root are the Merkle log over everything before the footer, or
	// before the end of an unfinished tape.
	TreeSize    uint64             `json:"tree_size"`
	Root        string             `json:"root"`
	Checkpoints []CheckpointReport `json:"checkpoints"`
	Signature   SignatureState     `json:"signature"`
	// SignedChunks is the number of chunks covered by the last valid signature.
	SignedChunks uint64       `json:"signed_chunks"`
	Damage       []Damage     `json:"damage"`
	Losses       []LossReport `json:"losses"` // recorded by salvage
	LostPages    uint64       `json:"lost_page_references"`
	Gaps         uint64       `json:"gaps"`
}

// SignatureState sums up a tape's signatures.
type SignatureState string

// The states of a tape's signatures.
const (
	SignatureNone    SignatureState = "none"    // not signed, or no signed tree head that can be checked is there
	SignatureValid   SignatureState = "valid"   // by the key the tape names
	SignatureTrusted SignatureState = "trusted" // by a trusted key
	// SignatureUnlinked: tree heads are lost, and with them the line of keys from
	// the first signer to later heads. Those are signed, it cannot be told by whom.
	SignatureUnlinked SignatureState = "unlinked"
	SignatureBad      SignatureState = "bad" // wrong, or by another key than trusted
)

// StreamReport counts a stream's records, which needs no key.
type StreamReport struct {
	ID      StreamID   `json:"id"`
	Kind    StreamKind `json:"kind"`
	Name    string     `json:"name,omitempty"`
	Records uint64     `json:"records"`
	Gaps    uint64     `json:"gaps"`
}

// CheckpointReport is one tree head.
type CheckpointReport struct {
	Chunk    uint64 `json:"chunk"`
	Offset   int64  `json:"offset"`
	TreeSize uint64 `json:"tree_size"`
	Root     string `json:"root"`
	Signed   bool   `json:"signed"`
	State    string `json:"state"` // "ok", "unprovable" (covers chunks lost without trace), "unlinked" (signed by a key nothing leads to), "bad root", "bad signature"
	Text     string `json:"text"`
}

// LossReport is what a loss chunk says.
type LossReport struct {
	SourceSize   uint64 `json:"source_size"`
	SourceSHA256 string `json:"source_sha256"`
	Chunks       uint64 `json:"chunks"`
	Records      uint64 `json:"records"`
}

// Verify reads every byte of a tape and checks it. It needs no key for the
// chain, the signatures, the counts and the gaps; content is decoded when it is
// not sealed or an identity opens it. The error is about reading the file or
// about it not being a tape; what is wrong with the tape is in the report.
func Verify(src io.ReaderAt, size int64, o VerifyOptions) (*VerifyReport, error) {
	r, err := openScanned(src, size, o.Identities)
	if err != nil {
		return nil, err
	}
	a := newAuditor(r)
	a.lossy = r.hasDamage() || slices.ContainsFunc(r.chunks, func(c *chunkInfo) bool { return c.head.Type == chunkLoss })
	v := &VerifyReport{
		TapeID: hex.EncodeToString(r.tape[:]), Size: size, Sealed: r.sealed, Encrypted: r.Encrypted(), Chunks: uint64(len(r.chunks)),
	}
	last := int64(0)
	for _, c := range r.chunks {
		if c.off < last {
			r.note(c, DamageContent, errors.New("chunk lies before the one with the number before"))
		}
		last = c.off
		if err := a.check(c); err != nil {
			var d *Damage
			if !errors.As(err, &d) {
				return nil, err
			}
			a.lossy = true // what refers to this chunk is not damaged as well
		}
	}
	v.count(r)
	v.tree(r, a, o.TrustedKeys)
	v.lost(r)
	if a.unread == 0 {
		v.sequence(r)
	} else {
		v.sequenceUnread(r)
	}
	v.Unread, v.Unknown, v.LostPages = a.unread, a.unknown, a.dangling
	v.Damage = r.Damage()
	v.OK = len(v.Damage) == 0 && v.Signature != SignatureBad
	v.Complete = v.OK && v.Sealed && len(v.Losses) == 0
	return v, nil
}

// openScanned opens a tape by looking at all of it, whatever its index says.
func openScanned(src io.ReaderAt, size int64, ids []age.Identity) (*Reader, error) {
	r := &Reader{src: src, size: size, opts: ReaderOptions{Identities: ids, MaxMemory: 64 << 20}, scanOnly: true}
	r.cache = newBodyCache(r.opts.MaxMemory)
	if err := r.load(); err != nil {
		return nil, err
	}
	return r, nil
}

func (v *VerifyReport) count(r *Reader) {
	by := map[StreamID]*StreamReport{}
	for _, d := range r.Streams() {
		by[d.ID] = &StreamReport{ID: d.ID, Kind: d.Kind, Name: d.Name}
	}
	for _, c := range r.chunks {
		if c.head.Type != chunkRecords {
			continue
		}
		v.Records += c.rec.Count
		v.LastSeq = max(v.LastSeq, c.rec.LastSeq)
		for _, s := range c.rec.Streams {
			n := by[s.ID]
			if n == nil {
				n = &StreamReport{ID: s.ID, Kind: s.Kind}
				by[s.ID] = n
			}
			n.Records += s.Count
			n.Gaps += s.Gaps
			v.Gaps += s.Gaps
		}
	}
	for _, n := range by {
		v.Streams = append(v.Streams, *n)
	}
	slices.SortFunc(v.Streams, func(a, b StreamReport) int { return int(int64(a.ID) - int64(b.ID)) })
}

// tree checks tree heads, signatures and the footer against the chunks.
func (v *VerifyReport) tree(r *Reader, a *auditor, trusted [][]byte) {
	log, whole := a.treeLog(r.chunks)
	if n := len(log.leaves); r.sealed && whole && n > 0 {
		log.leaves, log.numbers = log.leaves[:n-1], log.numbers[:n-1] // the footer itself
	}
	sizes := map[uint64]bool{uint64(len(log.leaves)): true}
	for _, c := range a.checkpoints {
		sizes[c.cp.size] = true
	}
	roots := log.roots(sizes)
	v.TreeSize = uint64(len(log.leaves))
	root := roots[v.TreeSize]
	v.Root = hex.EncodeToString(root[:])
	if f := r.footer; f != nil && whole && (f.Size != v.TreeSize || f.Root != root) {
		r.note(r.chunks[len(r.chunks)-1], DamageFooter, errRoot)
	}
	lossAt := uint64(0)
	for _, c := range r.chunks {
		if c.head.Type == chunkLoss {
			lossAt = c.head.Number
		}
	}
	v.checkpoints(r, a, log, roots, whole, lossAt, trusted)
}

// checkpoints checks tree heads and the line of their signatures. lossAt is the
// number of the loss chunk: heads before it are of the tape as it was recorded.
func (v *VerifyReport) checkpoints(r *Reader, a *auditor, log *treeLog, roots map[uint64][32]byte, whole bool, lossAt uint64, trusted [][]byte) {
	line := newHeadLine(r, a.lossy, lossAt, trusted)
	for k := range a.checkpoints {
		c := &a.checkpoints[k]
		number := c.chunk.head.Number
		if lossAt != 0 && number > lossAt {
			line.cross(r.losses)
		}
		rep := CheckpointReport{
			Chunk: number, Offset: c.chunk.off, TreeSize: c.cp.size,
			Root: hex.EncodeToString(c.cp.root[:]), Signed: c.cp.signature != nil, State: "ok", Text: c.cp.text,
		}
		before := log.position(number)
		old := number < lossAt && log.unknown >= 0 && before > log.unknown
		root, ok := roots[c.cp.size]
		switch {
		case old || (!whole && !ok):
			rep.State = "unprovable"
		case !ok || root != c.cp.root || (whole && uint64(before) != c.cp.size):
			rep.State = "bad root"
			r.note(c.chunk, DamageTree, errors.New("tree head is not that of the chunks before it"))
		}
		if err := line.follow(c, &rep); err != nil {
			r.note(c.chunk, DamageSignature, err)
		}
		v.Checkpoints = append(v.Checkpoints, rep)
	}
	v.Signature, v.SignedChunks = line.end(), line.signed
}

// position is the number of leaves before a chunk's; -1 when it has none.
func (l *treeLog) position(number uint64) int {
	return slices.Index(l.numbers, number)
}

func (v *VerifyReport) lost(r *Reader) {
	for _, l := range r.losses {
		rep := LossReport{SourceSize: l.SourceSize, SourceSHA256: hex.EncodeToString(l.SourceHash[:])}
		for _, c := range l.Chunks {
			rep.Chunks += c.Count
		}
		for _, c := range l.Records {
			rep.Records += c.Count
		}
		v.Losses = append(v.Losses, rep)
	}
}

// sequence checks that every number from 1 to the last is there once, or
// recorded as lost, and that no chunk claimed to be settled before it was.
func (v *VerifyReport) sequence(r *Reader) {
	settled := map[uint64]uint64{} // by chunk: what chunks before it claim
	var claim uint64
	for _, c := range r.chunks {
		if c.head.Type == chunkRecords {
			settled[c.head.Number] = claim
			claim = max(claim, c.rec.Settled)
		}
	}
	q := (&Query{}).bounds()
	m := newMerge(r, &q)
	m.raw = true
	next := uint64(1)
	for {
		e, ok := m.next()
		if !ok {
			break
		}
		if e.err != nil {
			next = max(next, e.seq)
			v.skip(e, &next)
			continue
		}
		c := r.byNum[e.chunk]
		switch {
		case e.seq < next:
			r.note(c, DamageSequence, fmt.Errorf("record %d comes twice", e.seq))
		case e.seq > next && !r.lostRange(next, e.seq-1) && !r.hasDamage():
			r.note(c, DamageSequence, fmt.Errorf("records %d to %d are missing before it", next, e.seq-1))
		case e.seq <= settled[e.chunk] && !r.lostRange(e.seq, e.seq):
			r.note(c, DamageSequence, fmt.Errorf("record %d was said to be settled in an earlier chunk", e.seq))
		}
		next = max(next, e.seq+1)
	}
	if f := r.footer; f != nil && (f.LastSeq < next-1 || !r.lostRange(next, f.LastSeq)) && !r.hasDamage() {
		r.note(r.chunks[len(r.chunks)-1], DamageFooter, fmt.Errorf("%d records are on the tape, it says %d", next-1, f.LastSeq))
	}
}

// skip moves past records that damage, already told, may have cost.
func (v *VerifyReport) skip(e element, next *uint64) {
	var d *Damage
	if errors.As(e.err, &d) {
		*next = max(*next, d.FirstSeq)
	}
}

func (r *Reader) hasDamage() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.damage) > 0
}

// sequenceUnread checks what can be checked of the sequence from outside: that
// as many records are announced as there are numbers.
func (v *VerifyReport) sequenceUnread(r *Reader) {
	var lost uint64
	for _, l := range r.losses {
		for _, c := range l.Records {
			lost += c.Count
		}
	}
	if f := r.footer; f != nil && !r.hasDamage() && v.Records+lost < f.LastSeq {
		r.note(r.chunks[len(r.chunks)-1], DamageSequence, fmt.Errorf("%d records announced and %d lost, %d were written", v.Records, lost, f.LastSeq))
	}
}
