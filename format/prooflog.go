package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ChunkProof shows that a chunk is in the Merkle log, without its body.
type ChunkProof struct {
	Head     []byte   `json:"head"` // header and meta
	BodyHash []byte   `json:"body_hash"`
	Leaf     uint64   `json:"leaf"`     // within the Merkle log
	LogPath  [][]byte `json:"log_path"` // audit path to the root in the last of the checkpoints
}

// head decodes the chunk's header, which must be of the tape.
func (k *ChunkProof) head(tape string) (chunkHead, error) {
	h, err := parseChunkHead(k.Head)
	if err != nil {
		return h, fmt.Errorf("chunk header: %w", err)
	}
	if len(k.Head) != chunkHeaderSize+len(h.Meta) || len(k.BodyHash) != sha256.Size {
		return h, errors.New("chunk header or body hash: wrong length")
	}
	if hex.EncodeToString(h.Tape[:]) != tape {
		return h, errors.New("chunk header: of another tape")
	}
	return h, nil
}

// check leads from the chunk to a tree head.
func (k *ChunkProof) check(cp *checkpoint) error {
	path, err := hashes(k.LogPath)
	if err != nil {
		return fmt.Errorf("log path: %w", err)
	}
	root, err := rootFromProof(leafHash(append(bytes.Clone(k.Head), k.BodyHash...)), k.Leaf, cp.size, path)
	if err != nil {
		return fmt.Errorf("log path: %w", err)
	}
	if root != cp.root {
		return errors.New("log path does not lead to the root of the tree head")
	}
	return nil
}

// checkDisclosed leads from something disclosed of a chunk to the root of the
// chunk's commitments.
func checkDisclosed(value, salt []byte, index, count uint64, path [][]byte, want [32]byte) error {
	var s [saltSize]byte
	if copy(s[:], salt) != saltSize || len(salt) != saltSize {
		return errors.New("salt: wrong length")
	}
	p, err := hashes(path)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	root, err := rootFromProof(recordLeaf(s, value), index, count, p)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if root != want {
		return errors.New("path does not lead to the root in the chunk's meta")
	}
	return nil
}

// checkHeads checks the line of tree heads and returns the last.
func checkHeads(notes []string, signer []byte, tape [16]byte, trusted [][]byte) (*checkpoint, SignatureState, error) {
	state, key := SignatureNone, signer
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
	for i, text := range notes {
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

// proofLog is the Merkle log of a tape and its heads, to make proofs from.
type proofLog struct {
	r     *Reader
	log   *treeLog
	heads []auditedCheckpoint
	roots map[uint64][32]byte
}

// provenHead is a tree head with those before it that hand the signing key down
// to it.
type provenHead struct {
	cp    *checkpoint
	notes []string
}

// proofLog puts the log together: of the chunks that an index lists it takes the
// hash from there. That they are right shows when the proof made is checked.
func (r *Reader) proofLog() (*proofLog, error) {
	a := newAuditor(r)
	a.lossy, a.skipPages = true, true
	for _, c := range r.chunks {
		leaf, known := r.leaves[c.head.Number]
		if known && c.head.Type != chunkCheckpoint {
			a.leaves[c.head.Number] = leaf
			continue
		}
		if err := a.check(c); err != nil {
			return nil, err
		}
	}
	log, whole := a.treeLog(r.chunks)
	if !whole {
		return nil, errors.New("the tape's Merkle log is not whole")
	}
	sizes := map[uint64]bool{}
	for _, k := range a.checkpoints {
		sizes[k.cp.size] = true
	}
	return &proofLog{r: r, log: log, heads: a.checkpoints, roots: log.roots(sizes)}, nil
}

// headOver finds the first tree head that covers all of some chunks.
func (l *proofLog) headOver(chunks ...*chunkInfo) (*provenHead, error) {
	last := 0
	for _, c := range chunks {
		at := l.log.position(c.head.Number)
		if at < 0 {
			return nil, fmt.Errorf("chunk %d is not in the Merkle log", c.head.Number)
		}
		last = max(last, at)
	}
	h, key := &provenHead{}, l.r.header.Signer
	for _, k := range l.heads {
		next, bridged, ok := k.link(l.r.tape, key)
		if key != nil && !ok {
			return nil, errors.New("the line of signatures is broken before a tree head covers it")
		}
		key = next
		if bridged {
			h.notes = append(h.notes, string(k.chunk.head.Meta))
		}
		h.notes = append(h.notes, string(k.note))
		if root, ok := l.roots[k.cp.size]; ok && k.cp.size > uint64(last) && root == k.cp.root {
			h.cp = k.cp
			return h, nil
		}
	}
	return nil, errors.New("no tree head covers it yet")
}

// prove shows that a chunk is under a tree head.
func (l *proofLog) prove(c *chunkInfo, h *provenHead) (*ChunkProof, error) {
	at := l.log.position(c.head.Number)
	raw := make([]byte, c.head.length())
	if _, err := l.r.src.ReadAt(raw, c.off); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read tape at byte %d: %w", c.off, err)
	}
	n := chunkHeaderSize + len(c.head.Meta)
	body := sha256.Sum256(raw[n:])
	p := &ChunkProof{Head: raw[:n:n], BodyHash: body[:], Leaf: uint64(at)}
	for _, s := range inclusionProof(l.log.leaves[:h.cp.size], at) {
		p.LogPath = append(p.LogPath, s[:])
	}
	return p, nil
}
