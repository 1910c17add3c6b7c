package format

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// PageProofReport is what a proof of a page shows.
type PageProofReport struct {
	Tape      string         `json:"tape"`
	Stream    StreamID       `json:"stream"`
	Snapshot  uint32         `json:"snapshot"`
	Page      uint64         `json:"page"`
	State     PageState      `json:"state"`
	SHA256    string         `json:"sha256,omitempty"` // of the content
	TreeSize  uint64         `json:"tree_size"`
	Signature SignatureState `json:"signature"`
}

// VerifyPageProof checks a proof of a page; trusted is as in VerifyProof.
func VerifyPageProof(p *PageProof, trusted [][]byte) (*PageProofReport, error) {
	if p.Version != 1 {
		return nil, fmt.Errorf("proof version %d: %w", p.Version, ErrUnsupported)
	}
	var tape [16]byte
	if n, err := hex.Decode(tape[:], []byte(p.Tape)); err != nil || n != len(tape) || len(p.Tape) != 32 {
		return nil, fmt.Errorf("tape %q: not an id", p.Tape)
	}
	cp, state, err := checkHeads(p.Checkpoints, p.Signer, tape, trusted)
	if err != nil {
		return nil, err
	}
	rep := &PageProofReport{
		Tape: p.Tape, Stream: p.Stream, Snapshot: p.Snapshot, Page: p.Page, State: p.State, TreeSize: cp.size, Signature: state,
	}
	run, err := p.stated(cp)
	if err != nil {
		return nil, err
	}
	if run.state != p.State {
		return nil, fmt.Errorf("the snapshot has the page in state %d, the proof is of %d", run.state, p.State)
	}
	if run.state != PageData {
		if p.Slot != nil || len(p.Content) != 0 {
			return nil, errors.New("content of a page that has none")
		}
		return rep, nil
	}
	if err := p.checkContent(run.from(p.Page), cp); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	sum := sha256.Sum256(p.Content)
	rep.SHA256 = hex.EncodeToString(sum[:])
	return rep, nil
}

// pages checks that a chunk is under the tree head and decodes its meta.
func (k *ChunkProof) pages(tape string, cp *checkpoint, t chunkType) (*pagesMeta, error) {
	h, err := k.head(tape)
	if err != nil {
		return nil, err
	}
	if h.Type != t {
		return nil, fmt.Errorf("a %s chunk, not a %s chunk", h.Type, t)
	}
	if err := k.check(cp); err != nil {
		return nil, err
	}
	m, err := parsePagesMeta(h.Meta)
	if err == nil && m.Commit == nil {
		err = errNoCommitment
	}
	return m, err
}

// stated follows the statements to the run that holds the page.
func (p *PageProof) stated(cp *checkpoint) (*pageRun, error) {
	id := p.Snapshot
	for i := range p.Statements {
		s := &p.Statements[i]
		m, err := s.Chunk.pages(p.Tape, cp, chunkMap)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if m.Snapshot != id || m.Stream != p.Stream || p.Page < m.Lo || p.Page >= m.Hi {
			return nil, fmt.Errorf("statement %d: not about the page in snapshot %d", i+1, id)
		}
		run, err := s.stated(m, p.Page)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if run == nil && (m.Full || m.Parent == 0) {
			run = &pageRun{start: p.Page, count: 1, state: PageAbsent}
		}
		if run != nil {
			if i+1 < len(p.Statements) {
				return nil, errors.New("statements after the one that counts")
			}
			return run, nil
		}
		if m.Parent >= id {
			return nil, fmt.Errorf("statement %d: snapshot %d cannot build on %d", i+1, id, m.Parent)
		}
		id = m.Parent
	}
	return nil, errors.New("no statement about the page")
}

// stated returns the run of a map chunk that holds a page; nil when it is shown
// that none does.
func (s *MapProof) stated(m *pagesMeta, page uint64) (*pageRun, error) {
	runs := make([]pageRun, len(s.Runs))
	for i, d := range s.Runs {
		var err error
		if runs[i], err = parseRunAlone(d.Value); err != nil {
			return nil, err
		}
		if err := checkDisclosed(d.Value, d.Salt, d.Index, m.Commit.leaves, d.Path, m.Commit.root); err != nil {
			return nil, err
		}
	}
	n := m.Commit.leaves
	switch {
	case len(runs) == 1 && runs[0].start <= page && page < runs[0].end():
		return &runs[0], nil
	case len(runs) == 0 && n == 0,
		len(runs) == 1 && s.Runs[0].Index == 0 && page < runs[0].start,
		len(runs) == 1 && s.Runs[0].Index == n-1 && page >= runs[0].end(),
		len(runs) == 2 && s.Runs[1].Index == s.Runs[0].Index+1 && runs[0].end() <= page && page < runs[1].start:
		return nil, nil
	}
	return nil, errors.New("the runs shown do not tell about the page")
}

// checkContent leads from the content to the slot that the run names.
func (p *PageProof) checkContent(run pageRun, cp *checkpoint) error {
	if p.Slot == nil || len(p.Content) != PageSize {
		return fmt.Errorf("%d bytes, without proof or not a page", len(p.Content))
	}
	m, err := p.Slot.Chunk.pages(p.Tape, cp, chunkPages)
	if err != nil {
		return err
	}
	d := &p.Slot.Slot
	if m.Pack != run.pack || d.Index != uint64(run.slot) || len(d.Value) != 0 {
		return fmt.Errorf("slot %d of pack %d: the snapshot says slot %d of pack %d", d.Index, m.Pack, run.slot, run.pack)
	}
	sum := sha256.Sum256(p.Content)
	return checkDisclosed(sum[:], d.Salt, d.Index, m.Commit.leaves, d.Path, m.Commit.root)
}
