package format

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// auditor checks chunks one by one in the order of their numbers: that each is
// intact, that it says what can be, and that it agrees with those before it.
// Verify reports what it finds, Salvage leaves it out.
type auditor struct {
	r     *Reader
	lossy bool // chunks are missing: references to them are no contradiction
	// skipPages leaves the commitments to pages unchecked.
	skipPages bool
	leaves    map[uint64][32]byte
	packs     map[uint32]auditedPack
	maps      map[uint32]uint64 // by snapshot: end of the pages mapped so far
	index     int64             // offset of the last index chunk

	// versions are the pages' last contents, as a writer keeps them: what
	// differences are mostly to, without opening earlier chunks again.
	versions *versionCache

	raw, plain []byte // the chunk in hand, as stored and opened

	checkpoints []auditedCheckpoint
	unread      uint64 // chunks whose content is sealed and was not looked at
	unknown     uint64 // ancillary chunks of unknown type
	dangling    uint64 // page references to packs that are lost
}

// auditedCheckpoint is a tree head, and the one before it as it repeats it.
type auditedCheckpoint struct {
	chunk *chunkInfo
	cp    *checkpoint
	note  []byte
	prev  *checkpoint // nil when it is the first
}

// link returns the key of the next tree head when this one is by the key that is
// due, or by the one that the head before it, which is lost, hands down. bridged
// tells the second case.
func (c *auditedCheckpoint) link(tape [16]byte, key []byte) (next []byte, bridged, ok bool) {
	if c.cp.verify(tape, key) == nil {
		return c.cp.next, false, true
	}
	if c.prev != nil && c.prev.signature != nil && c.prev.verify(tape, key) == nil && c.cp.verify(tape, c.prev.next) == nil {
		return c.cp.next, true, true
	}
	return c.cp.next, false, false
}

// checkpoint reads a checkpoint chunk.
func (a *auditor) checkpoint(c *chunkInfo, body []byte) error {
	k := auditedCheckpoint{chunk: c, note: bytes.Clone(body)}
	var err error
	if k.cp, err = parseCheckpoint(body, c.head.Tape); err != nil {
		return err
	}
	if len(c.head.Meta) > 0 {
		if k.prev, err = parseCheckpoint(c.head.Meta, c.head.Tape); err != nil {
			return fmt.Errorf("repeated %w", err)
		}
	}
	if n := len(a.checkpoints); !a.lossy && (n > 0) != (k.prev != nil) || !a.lossy && n > 0 && !bytes.Equal(a.checkpoints[n-1].note, c.head.Meta) {
		return errors.New("the tree head it repeats is not the one before it")
	}
	a.checkpoints = append(a.checkpoints, k)
	return nil
}

func newAuditor(r *Reader) *auditor {
	return &auditor{
		r: r, leaves: map[uint64][32]byte{}, packs: map[uint32]auditedPack{}, maps: map[uint32]uint64{},
		versions: newVersionCache(deltaMemory),
	}
}

// check audits a chunk. An error that is a *Damage is about the chunk; any other
// is about reading the file.
func (a *auditor) check(c *chunkInfo) error {
	a.raw = slices.Grow(a.raw[:0], int(c.head.length()))
	raw := a.raw[:c.head.length()]
	if _, err := a.r.src.ReadAt(raw, c.off); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read tape at byte %d: %w", c.off, err)
	}
	n := chunkHeaderSize + len(c.head.Meta)
	if err := a.r.checkBody(c, raw[n:]); err != nil {
		return err
	}
	a.leaves[c.head.Number] = chunkLeaf(raw[:n], raw[n:])
	if n := int(c.head.Size) + decodeSlack; cap(a.plain) < n {
		a.plain = make([]byte, n)
	}
	body, err := a.r.openBody(c, raw[n:], a.plain)
	if errors.Is(err, ErrNoKey) {
		a.unread++
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.content(c, body); err != nil {
		var d *Damage
		if errors.As(err, &d) {
			return err
		}
		return a.r.note(c, DamageContent, err)
	}
	return nil
}

func (a *auditor) content(c *chunkInfo, body []byte) error {
	switch c.head.Type {
	case chunkHeader:
		h, err := parseFileHeader(body)
		if err == nil && (string(h.append(nil)) != string(a.r.header.append(nil)) || h.TapeID != c.head.Tape) {
			err = errors.New("another file header than the tape's")
		}
		return err
	case chunkKey:
		d := &decoder{b: body}
		d.wrappedKey()
		return d.err
	case chunkRecords, chunkRepeat:
		return a.records(c, body)
	case chunkPages:
		return a.pages(c, body)
	case chunkMap:
		return a.pageMap(c, body)
	case chunkIndex:
		return a.indexBody(c, body)
	case chunkCheckpoint:
		return a.checkpoint(c, body)
	case chunkLoss:
		_, err := parseLoss(body)
		return err
	case chunkFooter:
		_, err := parseFooter(c.head.Meta)
		if err == nil && c.end() != a.r.size {
			err = errors.New("footer is not at the end")
		}
		return err
	}
	a.unknown++
	return nil
}

// records compares a records chunk with all that its meta says of it.
func (a *auditor) records(c *chunkInfo, body []byte) error {
	m := c.rec
	streams := map[StreamID]*streamCount{}
	var t tree
	var types uint64
	i := 0
	err := a.r.eachRecord(c, body, func(rec Record, stored []byte) bool {
		t.add(recordLeaf(recordSalt(body[:saltSize], i), stored))
		i++
		s := rec.Header()
		n := streams[s.Stream]
		if n == nil {
			n = &streamCount{ID: s.Stream}
			streams[s.Stream] = n
		}
		typ := RecordType(stored[0])
		types |= 1 << typ
		if p, ok := rec.(*attachmentPart); !ok || p.offset == 0 {
			n.Count++
		}
		if typ == TypeGap {
			n.Gaps++
		}
		return true
	})
	if err != nil {
		return err
	}
	if t.root() != m.Root {
		return errors.New("record commitments do not match their root")
	}
	if types != m.Types || len(streams) != len(m.Streams) {
		return errors.New("records are not of the types and streams announced")
	}
	for _, s := range m.Streams {
		if n := streams[s.ID]; n == nil || n.Count != s.Count || n.Gaps != s.Gaps {
			return fmt.Errorf("stream %d: not the number of records announced", s.ID)
		}
	}
	return nil
}

func (a *auditor) indexBody(c *chunkInfo, body []byte) error {
	x, err := parseIndex(body, c.head.Tape)
	if err != nil {
		return err
	}
	if string(x.Header.append(nil)) != string(a.r.header.append(nil)) {
		return errors.New("another file header than the tape's")
	}
	if !a.lossy && x.Previous != a.index {
		return fmt.Errorf("previous index at byte %d, it is at %d", x.Previous, a.index)
	}
	a.index = c.off
	for _, e := range x.Entries {
		leaf, ok := a.leaves[e.Head.Number]
		if !ok {
			if a.lossy {
				continue
			}
			return fmt.Errorf("chunk %d: listed and not there", e.Head.Number)
		}
		o := a.r.byNum[e.Head.Number]
		if o == nil || leaf != e.Leaf || (!a.lossy && o.off != e.Offset) {
			return fmt.Errorf("chunk %d: not as listed", e.Head.Number)
		}
		if h := o.head; h.Type != e.Head.Type || h.Flags != e.Head.Flags || h.Stored != e.Head.Stored ||
			h.Size != e.Head.Size || h.CRC != e.Head.CRC || !slices.Equal(h.Meta, e.Head.Meta) {
			return fmt.Errorf("chunk %d: header not as listed", e.Head.Number)
		}
	}
	return nil
}
