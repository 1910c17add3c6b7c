package format

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

// PageProof shows what a snapshot says of one page of memory, or one block of a
// disk, to someone who has neither the tape nor its keys, and discloses no other
// page (SPEC.md §7.5). What it does disclose besides: how many pages next to it
// are stated together with it.
type PageProof struct {
	Version  int       `json:"version"` // 1
	Tape     string    `json:"tape"`    // tape id, hexadecimal
	Stream   StreamID  `json:"stream"`
	Snapshot uint32    `json:"snapshot"`
	Page     uint64    `json:"page"`
	State    PageState `json:"state"`
	Content  []byte    `json:"content,omitempty"` // PageSize bytes where State is PageData
	// Statements are what the maps of the snapshot, and of those it builds on, say
	// of the page: that they do not state it, up to the one that does.
	Statements  []MapProof `json:"statements"`
	Slot        *SlotProof `json:"slot,omitempty"` // that this is the content stated
	Checkpoints []string   `json:"checkpoints"`    // as in Proof
	Signer      []byte     `json:"signer,omitempty"`
}

// MapProof is runs of a map chunk: the one that holds a page, or the neighbours
// between which it would be.
type MapProof struct {
	Chunk ChunkProof  `json:"chunk"`
	Runs  []Disclosed `json:"runs"`
}

// SlotProof is that a slot of a pages chunk holds a content.
type SlotProof struct {
	Chunk ChunkProof `json:"chunk"`
	Slot  Disclosed  `json:"slot"` // without its value, which is the content's SHA-256
}

// Disclosed is one of the things a chunk commits itself to.
type Disclosed struct {
	Index uint64   `json:"index"`
	Salt  []byte   `json:"salt"`
	Value []byte   `json:"value,omitempty"`
	Path  [][]byte `json:"path"` // RFC 6962 audit path to the root in the chunk's meta
}

// disclose makes the path for the i-th of some leaves.
func disclose(salt [saltSize]byte, values [][]byte, i int) Disclosed {
	leaves := make([][32]byte, len(values))
	for k, v := range values {
		leaves[k] = recordLeaf(recordSalt(salt[:], k), v)
	}
	s := recordSalt(salt[:], i)
	d := Disclosed{Index: uint64(i), Salt: s[:], Value: values[i]}
	for _, h := range inclusionProof(leaves, i) {
		d.Path = append(d.Path, h[:])
	}
	return d
}

// pageProver collects the chunks a page proof is made of.
type pageProver struct {
	r      *Reader
	p      *PageProof
	chunks []*chunkInfo
}

var errNoCommitment = errors.New("the tape was written before pages could be proved one by one (format 1.0)")

// ProvePage makes the proof of a page of a snapshot. It needs the key of sealed
// content. The snapshot must have ended and be covered by a tree head.
func ProvePage(src io.ReaderAt, size int64, snapshot uint32, page uint64, ids ...age.Identity) (*PageProof, error) {
	r, err := Open(src, size, ReaderOptions{Identities: ids})
	if err != nil {
		return nil, err
	}
	s, err := r.Snapshot(snapshot)
	if err != nil {
		return nil, err
	}
	v := &pageProver{r: r, p: &PageProof{
		Version: 1, Tape: hex.EncodeToString(r.tape[:]), Stream: s.info.Begin.Stream, Snapshot: snapshot, Page: page,
	}}
	if err := v.make(s); err != nil {
		return nil, fmt.Errorf("snapshot %d: page %d: %w", snapshot, page, err)
	}
	return v.p, nil
}

func (v *pageProver) make(s *Snapshot) error {
	if v.p.Page >= s.info.Begin.Pages {
		return fmt.Errorf("beyond its %d pages", s.info.Begin.Pages)
	}
	buf := make([]byte, PageSize)
	var err error
	if v.p.State, err = s.ReadPage(v.p.Page, buf); err != nil {
		return err
	}
	run, err := v.statements(s.info)
	if err != nil {
		return err
	}
	if run != nil && run.state == PageData {
		v.p.Content = buf
		if err := v.slot(run.from(v.p.Page)); err != nil {
			return err
		}
	}
	if err := v.chain(); err != nil {
		return err
	}
	if _, err := VerifyPageProof(v.p, nil); err != nil {
		return fmt.Errorf("the tape does not prove it: %w", err)
	}
	return nil
}

// statements goes from a snapshot to those it builds on until one states the page.
func (v *pageProver) statements(info SnapshotInfo) (*pageRun, error) {
	for id := info.Begin.ID; ; {
		c := v.mapOf(id)
		if c == nil {
			return nil, fmt.Errorf("snapshot %d has no map for it on the tape: it was not finished, or the map is lost", id)
		}
		if c.pages.Commit == nil {
			return nil, errNoCommitment
		}
		run, err := v.statement(c)
		if run != nil || err != nil || c.pages.Full || c.pages.Parent == 0 {
			return run, err
		}
		if c.pages.Parent >= id {
			return nil, errLostParent
		}
		id = c.pages.Parent
	}
}

// mapOf finds the map chunk of a snapshot that covers the page.
func (v *pageProver) mapOf(id uint32) *chunkInfo {
	cs := v.r.parts[id]
	if cs == nil {
		return nil
	}
	for _, c := range cs.maps {
		if c.pages.Lo <= v.p.Page && v.p.Page < c.pages.Hi {
			return c
		}
	}
	return nil
}

// statement proves what one map chunk says of the page.
func (v *pageProver) statement(c *chunkInfo) (*pageRun, error) {
	body, err := v.r.body(c)
	if err != nil {
		return nil, err
	}
	runs, salt, err := parseMapBody(body, c.pages)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(runs))
	for i := range runs {
		values[i] = runs[i].appendAlone(nil)
	}
	at := slices.IndexFunc(runs, func(r pageRun) bool { return r.end() > v.p.Page })
	var m MapProof
	var found *pageRun
	switch {
	case at >= 0 && runs[at].start <= v.p.Page:
		found = &runs[at]
		m.Runs = append(m.Runs, disclose(salt, values, at))
	case len(runs) == 0:
	case at < 0:
		m.Runs = append(m.Runs, disclose(salt, values, len(runs)-1))
	default:
		if at > 0 {
			m.Runs = append(m.Runs, disclose(salt, values, at-1))
		}
		m.Runs = append(m.Runs, disclose(salt, values, at))
	}
	v.p.Statements = append(v.p.Statements, m)
	v.chunks = append(v.chunks, c)
	return found, nil
}

// slot proves the content of a slot.
func (v *pageProver) slot(run pageRun) error {
	c := v.r.packs[run.pack]
	if c == nil {
		return fmt.Errorf("pack %d is not on the tape", run.pack)
	}
	if c.pages.Commit == nil {
		return errNoCommitment
	}
	p, err := v.r.pack(c)
	if err != nil {
		return err
	}
	values := make([][]byte, len(p.bases))
	page := make([]byte, PageSize)
	for i := range values {
		if err := v.r.page(pageLoc{pack: run.pack, slot: uint32(i)}, page); err != nil {
			return fmt.Errorf("pack %d: slot %d: %w", run.pack, i, err)
		}
		h := sha256.Sum256(page)
		values[i] = h[:]
	}
	if int(run.slot) >= len(values) {
		return errSlots
	}
	d := disclose(p.salt, values, int(run.slot))
	d.Value = nil
	v.p.Slot = &SlotProof{Slot: d}
	v.chunks = append(v.chunks, c)
	return nil
}

// chain adds the way from every chunk to one tree head.
func (v *pageProver) chain() error {
	l, err := v.r.proofLog()
	if err != nil {
		return err
	}
	h, err := l.headOver(v.chunks...)
	if err != nil {
		return err
	}
	v.p.Checkpoints, v.p.Signer = h.notes, v.r.header.Signer
	for i, c := range v.chunks {
		k, err := l.prove(c, h)
		if err != nil {
			return err
		}
		if i < len(v.p.Statements) {
			v.p.Statements[i].Chunk = *k
		} else {
			v.p.Slot.Chunk = *k
		}
	}
	return nil
}
