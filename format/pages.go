package format

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// pageLoc is where the content of a page lies: a slot of a pack. depth counts
// the differences that lead to it.
type pageLoc struct {
	pack  uint32
	slot  uint32
	depth uint8
}

// maxDelta bounds the chain of differences a page is stored by.
const maxDelta = 8

// pack is an open pages chunk: statements, and contents that are new.
type pack struct {
	id    uint32
	runs  []pageRun
	bases []pageLoc // per slot; pack 0 = the slot holds the page itself
	data  []byte
	whole *versions // the slots that hold a page itself
	// digests are SHA-256 of the contents, by slot: also where the slot holds a
	// difference.
	digests [][32]byte
}

// encode lays out the body of a pages chunk: contents, statements, slot table, and
// the salt of its commitments. The contents come first so that they need not be
// moved.
func (p *pack) encode(salt []byte) []byte {
	b := appendRuns(p.data, p.runs)
	b = binary.AppendUvarint(b, uint64(len(p.bases)))
	for _, l := range p.bases {
		b = binary.AppendUvarint(b, uint64(l.pack))
		if l.pack != 0 {
			b = binary.AppendUvarint(b, uint64(l.slot))
		}
	}
	return append(b, salt...)
}

// packBody is a pages chunk opened for reading.
type packBody struct {
	runs  []pageRun
	bases []pageLoc
	// data is len(bases) pages; its capacity is the whole body, which is in memory as
	// long as they are.
	data []byte
	salt [saltSize]byte
}

func parsePack(b []byte, m *pagesMeta) (*packBody, error) {
	size := int(m.Slots) * PageSize
	if len(b) < size {
		return nil, fmt.Errorf("pages chunk: contents: %w", errSlots)
	}
	d := &decoder{b: b[size:]}
	p := &packBody{data: b[:size], runs: d.runs(m.Limit)}
	n := d.uintMax("slots", maxSlots)
	if d.err == nil && n != uint64(m.Slots) {
		d.fail("slots", fmt.Errorf("%d, the meta says %d", n, m.Slots))
	}
	if d.err == nil && n > uint64(len(d.b)) {
		d.fail("slots", errShort)
	}
	if d.err == nil {
		p.bases = make([]pageLoc, n)
	}
	for i := range p.bases {
		p.bases[i].pack = d.uint32("base pack")
		if p.bases[i].pack != 0 {
			p.bases[i].slot = uint32(d.uintMax("base slot", maxSlots))
		}
	}
	if d.err == nil && m.Pack == 0 {
		d.fail("pack", errors.New("number 0"))
	}
	if m.Commit != nil {
		d.fixed("salt", p.salt[:])
		if d.err == nil && m.Commit.leaves != n {
			d.fail("leaves", fmt.Errorf("%d, there are %d slots", m.Commit.leaves, n))
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("pages chunk: %w", d.err)
	}
	return p, nil
}

// parseMapBody decodes the body of a map chunk; salt is that of its commitments.
func parseMapBody(b []byte, m *pagesMeta) (runs pageMap, salt [saltSize]byte, err error) {
	d := &decoder{b: b}
	runs = d.runs(m.Limit)
	at := m.Lo
	for _, r := range runs {
		if d.err == nil && (r.start < at || r.end() > m.Hi) {
			d.fail("run", fmt.Errorf("%d pages from %d: out of order, or not within %d to %d", r.count, r.start, m.Lo, m.Hi))
		}
		at = r.end()
	}
	if m.Commit != nil {
		d.fixed("salt", salt[:])
		if d.err == nil && m.Commit.leaves != uint64(len(runs)) {
			d.fail("leaves", fmt.Errorf("%d, there are %d runs", m.Commit.leaves, len(runs)))
		}
	}
	if d.err != nil {
		return nil, salt, fmt.Errorf("map chunk: %w", d.err)
	}
	return runs, salt, nil
}
