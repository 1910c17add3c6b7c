package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

// Proof shows that one record is on a tape, to someone who has neither the tape
// nor its keys, and discloses no other record: the record with its salt leads to
// the root of its chunk's records, that is in the chunk's meta, the meta leads
// to the root of the Merkle log, and that is in a tree head (SPEC.md §7.4).
type Proof struct {
	Version  int      `json:"version"` // 1
	Tape     string   `json:"tape"`    // tape id, hexadecimal
	Sequence uint64   `json:"sequence"`
	Record   []byte   `json:"record"` // as AppendRecord encodes it
	Salt     []byte   `json:"salt"`
	Index    uint64   `json:"index"` // of the record within its chunk
	Count    uint64   `json:"count"` // of records in the chunk
	Path     [][]byte `json:"path"`  // RFC 6962 audit path to the chunk's root of records
	Head     []byte   `json:"head"`  // header and meta of the chunk
	BodyHash []byte   `json:"body_hash"`
	Leaf     uint64   `json:"leaf"`     // of the chunk within the Merkle log
	LogPath  [][]byte `json:"log_path"` // audit path to the root in the last of the checkpoints
	// Checkpoints are tree heads as signed notes: the one that covers the chunk
	// last, before it those that hand the signing key down to it.
	Checkpoints []string `json:"checkpoints"`
	Signer      []byte   `json:"signer,omitempty"` // public key of the first of them
}

// Prove makes the proof of the record with a sequence number. It needs the key
// of sealed content. The record must be covered by a tree head, and not be an
// attachment stored in parts.
func Prove(src io.ReaderAt, size int64, seq uint64, ids ...age.Identity) (*Proof, error) {
	r, err := openScanned(src, size, ids)
	if err != nil {
		return nil, err
	}
	for _, c := range r.chunks {
		if c.head.Type != chunkRecords || seq < c.rec.FirstSeq || seq > c.rec.LastSeq {
			continue
		}
		p, err := r.proveIn(c, seq)
		if err != nil {
			return nil, err
		}
		if p != nil {
			return p, r.proveChunk(c, p)
		}
	}
	return nil, fmt.Errorf("record %d: not on the tape", seq)
}

// proveIn makes the part of a proof that lies within a chunk; nil when the
// record is not in it.
func (r *Reader) proveIn(c *chunkInfo, seq uint64) (*Proof, error) {
	body, err := r.body(c)
	if err != nil {
		return nil, err
	}
	var p *Proof
	var leaves [][32]byte
	part := false
	err = r.eachRecord(c, body, func(rec Record, stored []byte) bool {
		salt := recordSalt(body[:saltSize], len(leaves))
		if rec.Header().Seq == seq && p == nil {
			p = &Proof{
				Version: 1, Tape: hex.EncodeToString(r.tape[:]), Sequence: seq,
				Record: bytes.Clone(stored), Salt: salt[:], Index: uint64(len(leaves)),
			}
			a, ok := rec.(*attachmentPart)
			part = ok && !a.whole()
		}
		leaves = append(leaves, recordLeaf(salt, stored))
		return true
	})
	if err != nil || p == nil {
		return nil, err
	}
	if part {
		return nil, fmt.Errorf("record %d: an attachment stored in parts, which cannot be proved alone", seq)
	}
	p.Count = uint64(len(leaves))
	for _, h := range inclusionProof(leaves, int(p.Index)) {
		p.Path = append(p.Path, h[:])
	}
	return p, nil
}

// proveChunk adds the way from the chunk to a tree head.
func (r *Reader) proveChunk(c *chunkInfo, p *Proof) error {
	a := newAuditor(r)
	a.lossy = true
	for _, o := range r.chunks {
		if err := a.check(o); err != nil {
			return fmt.Errorf("record %d: %w", p.Sequence, err)
		}
	}
	log, whole := a.treeLog(r.chunks)
	at := log.position(c.head.Number)
	if !whole || at < 0 {
		return fmt.Errorf("record %d: the tape's Merkle log is not whole", p.Sequence)
	}
	sizes := map[uint64]bool{}
	for _, k := range a.checkpoints {
		sizes[k.cp.size] = true
	}
	roots := log.roots(sizes)
	p.Signer = r.header.Signer
	key := p.Signer
	for _, k := range a.checkpoints {
		next, bridged, ok := k.link(r.tape, key)
		if key != nil && !ok {
			return fmt.Errorf("record %d: the line of signatures is broken before a tree head covers it", p.Sequence)
		}
		key = next
		if bridged {
			p.Checkpoints = append(p.Checkpoints, string(k.chunk.head.Meta))
		}
		p.Checkpoints = append(p.Checkpoints, string(k.note))
		if root, ok := roots[k.cp.size]; !ok || k.cp.size <= uint64(at) || root != k.cp.root {
			continue
		}
		p.Leaf = uint64(at)
		for _, h := range inclusionProof(log.leaves[:k.cp.size], at) {
			p.LogPath = append(p.LogPath, h[:])
		}
		raw := make([]byte, c.head.length())
		if _, err := r.src.ReadAt(raw, c.off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read tape at byte %d: %w", c.off, err)
		}
		n := chunkHeaderSize + len(c.head.Meta)
		h := sha256.Sum256(raw[n:])
		p.Head, p.BodyHash = raw[:n:n], h[:]
		return nil
	}
	return fmt.Errorf("record %d: no tree head covers it yet", p.Sequence)
}

// ProofReport is what a proof shows.
type ProofReport struct {
	Record    Record         `json:"record"`
	Tape      string         `json:"tape"`
	Chunk     uint64         `json:"chunk"`
	TreeSize  uint64         `json:"tree_size"`
	Signature SignatureState `json:"signature"`
}

// VerifyProof checks a proof. trusted are public keys one of which must be the
// first signer; without any, a signature shows only that the tree heads are by
// one line of keys.
func VerifyProof(p *Proof, trusted [][]byte) (*ProofReport, error) {
	if p.Version != 1 {
		return nil, fmt.Errorf("proof version %d: %w", p.Version, ErrUnsupported)
	}
	rec, err := ParseRecord(p.Record)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if rec.Header().Seq != p.Sequence {
		return nil, fmt.Errorf("record has number %d, the proof is about %d", rec.Header().Seq, p.Sequence)
	}
	head, m, err := p.head()
	if err != nil {
		return nil, err
	}
	if err := p.checkRecord(m); err != nil {
		return nil, err
	}
	cp, state, err := p.checkpoint(head.Tape, trusted)
	if err != nil {
		return nil, err
	}
	path, err := hashes(p.LogPath)
	if err != nil {
		return nil, fmt.Errorf("log path: %w", err)
	}
	root, err := rootFromProof(leafHash(append(bytes.Clone(p.Head), p.BodyHash...)), p.Leaf, cp.size, path)
	if err != nil {
		return nil, fmt.Errorf("log path: %w", err)
	}
	if root != cp.root {
		return nil, errors.New("log path does not lead to the root of the tree head")
	}
	return &ProofReport{Record: rec, Tape: p.Tape, Chunk: head.Number, TreeSize: cp.size, Signature: state}, nil
}

func (p *Proof) head() (chunkHead, *recordsMeta, error) {
	h, err := parseChunkHead(p.Head)
	if err != nil {
		return h, nil, fmt.Errorf("chunk header: %w", err)
	}
	if len(p.Head) != chunkHeaderSize+len(h.Meta) || len(p.BodyHash) != sha256.Size {
		return h, nil, errors.New("chunk header or body hash: wrong length")
	}
	if h.Type != chunkRecords || hex.EncodeToString(h.Tape[:]) != p.Tape {
		return h, nil, errors.New("chunk header: not of records, or of another tape")
	}
	m, err := parseRecordsMeta(h.Meta)
	return h, m, err
}

// checkRecord leads from the record to the root in the chunk's meta.
func (p *Proof) checkRecord(m *recordsMeta) error {
	var salt [saltSize]byte
	if copy(salt[:], p.Salt) != saltSize || len(p.Salt) != saltSize {
		return errors.New("salt: wrong length")
	}
	path, err := hashes(p.Path)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	root, err := rootFromProof(recordLeaf(salt, p.Record), p.Index, p.Count, path)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if root != m.Root {
		return errors.New("path does not lead to the root of the chunk's records")
	}
	return nil
}

// checkpoint checks the line of tree heads and returns the last.
func (p *Proof) checkpoint(tape [16]byte, trusted [][]byte) (*checkpoint, SignatureState, error) {
	state, key := SignatureNone, p.Signer
	if key != nil {
		state = SignatureValid
		if slices.ContainsFunc(trusted, func(k []byte) bool { return bytes.Equal(k, key) }) {
			state = SignatureTrusted
		}
	}
	if len(trusted) > 0 && state != SignatureTrusted {
		return nil, SignatureBad, errors.New("not signed by a trusted key")
	}
	var cp *checkpoint
	for i, text := range p.Checkpoints {
		var err error
		if cp, err = parseCheckpoint([]byte(text), tape); err != nil {
			return nil, SignatureBad, err
		}
		if key != nil {
			if err := cp.verify(tape, key); err != nil {
				return nil, SignatureBad, fmt.Errorf("tree head %d: %w", i+1, err)
			}
			key = cp.next
		}
	}
	if cp == nil {
		return nil, SignatureBad, errors.New("no tree head")
	}
	return cp, state, nil
}

func hashes(in [][]byte) ([][32]byte, error) {
	if len(in) > 64 {
		return nil, fmt.Errorf("%d hashes: more than a log of 64 bits has levels", len(in))
	}
	out := make([][32]byte, len(in))
	for i, h := range in {
		if len(h) != 32 {
			return nil, fmt.Errorf("hash %d of %d bytes", i, len(h))
		}
		copy(out[i][:], h)
	}
	return out, nil
}
