package format

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

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
	r, err := Open(src, size, ReaderOptions{Identities: ids})
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
			return r.proveChunk(c, p)
		}
	}
	return nil, fmt.Errorf("record %d: not on the tape", seq)
}

// proveChunk adds the way from the record's chunk to a tree head, and makes sure
// that it holds.
func (r *Reader) proveChunk(c *chunkInfo, p *Proof) (*Proof, error) {
	l, err := r.proofLog()
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", p.Sequence, err)
	}
	h, err := l.headOver(c)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", p.Sequence, err)
	}
	k, err := l.prove(c, h)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", p.Sequence, err)
	}
	p.Head, p.BodyHash, p.Leaf, p.LogPath = k.Head, k.BodyHash, k.Leaf, k.LogPath
	p.Checkpoints, p.Signer = h.notes, r.header.Signer
	if _, err := VerifyProof(p, nil); err != nil {
		return nil, fmt.Errorf("record %d: the tape does not prove it: %w", p.Sequence, err)
	}
	return p, nil
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
	cp, state, err := checkHeads(p.Checkpoints, p.Signer, head.Tape, trusted)
	if err != nil {
		return nil, err
	}
	k := ChunkProof{p.Head, p.BodyHash, p.Leaf, p.LogPath}
	if err := k.check(cp); err != nil {
		return nil, err
	}
	return &ProofReport{Record: rec, Tape: p.Tape, Chunk: head.Number, TreeSize: cp.size, Signature: state}, nil
}

func (p *Proof) head() (chunkHead, *recordsMeta, error) {
	k := ChunkProof{Head: p.Head, BodyHash: p.BodyHash}
	h, err := k.head(p.Tape)
	if err != nil {
		return h, nil, err
	}
	if h.Type != chunkRecords {
		return h, nil, errors.New("chunk header: not of records")
	}
	m, err := parseRecordsMeta(h.Meta)
	return h, m, err
}

// checkRecord leads from the record to the root in the chunk's meta.
func (p *Proof) checkRecord(m *recordsMeta) error {
	return checkDisclosed(p.Record, p.Salt, p.Index, p.Count, p.Path, m.Root)
}
