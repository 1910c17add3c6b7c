package format

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

// auditedPack is what references to a pack are checked against.
type auditedPack struct {
	chunk *chunkInfo
	slots uint32
	depth []uint8 // differences by slot; nil: none
}

func (a *auditor) pages(c *chunkInfo, body []byte) error {
	p, err := parsePack(body, c.pages)
	if err != nil {
		return err
	}
	if _, ok := a.packs[c.pages.Pack]; ok {
		return fmt.Errorf("pack %d was there already", c.pages.Pack)
	}
	a.packs[c.pages.Pack] = auditedPack{chunk: c, slots: c.pages.Slots}
	if err = a.bases(c.pages.Pack, p.bases); err == nil {
		err = a.refer(p.runs)
	}
	if err == nil && c.pages.Commit != nil && !a.skipPages {
		err = a.slots(c, p)
	}
	if err != nil {
		delete(a.packs, c.pages.Pack)
		a.versions = newVersionCache(a.versions.limit) // some may be this chunk's
	}
	return err
}

// bases checks that differences are to contents before them, and not too many
// deep.
func (a *auditor) bases(pack uint32, bases []pageLoc) error {
	own := a.packs[pack]
	for i, l := range bases {
		if l.pack == 0 {
			continue
		}
		if own.depth == nil {
			own.depth = make([]uint8, len(bases))
		}
		if l.pack == pack && l.slot >= uint32(i) {
			return fmt.Errorf("slot %d is a difference to slot %d, which does not come before it", i, l.slot)
		}
		if err := a.slot(l.pack, l.slot, 1); err != nil {
			return err
		}
		d := a.packs[l.pack].depth
		if l.pack == pack {
			d = own.depth
		}
		own.depth[i] = 1
		if d != nil {
			own.depth[i] += d[l.slot]
		}
		if own.depth[i] > maxDelta {
			return fmt.Errorf("slot %d is the end of %d differences, the format allows %d", i, own.depth[i], maxDelta)
		}
	}
	a.packs[pack] = own
	return nil
}

// refer checks that pages refer to contents that are on the tape, at or before
// the chunk in hand.
func (a *auditor) refer(runs []pageRun) error {
	for _, r := range runs {
		if r.state != PageData {
			continue
		}
		if err := a.slot(r.pack, r.slot, r.count); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditor) slot(pack, slot uint32, count uint64) error {
	p, ok := a.packs[pack]
	switch {
	case !ok && a.lossy:
		a.dangling += count
		return nil
	case !ok:
		return fmt.Errorf("pack %d: referred to and not there", pack)
	case uint64(slot)+count > uint64(p.slots):
		return fmt.Errorf("pack %d: %d slots, referred to %d from %d", pack, p.slots, count, slot)
	}
	return nil
}

func (a *auditor) pageMap(c *chunkInfo, body []byte) error {
	m, salt, err := parseMapBody(body, c.pages)
	if err != nil {
		return err
	}
	if k := c.pages.Commit; k != nil && runsRoot(salt, m) != *k {
		return errors.New("commitments to runs do not match their root")
	}
	if at := a.maps[c.pages.Snapshot]; c.pages.Lo != at && !a.lossy {
		return fmt.Errorf("map of snapshot %d: begins at page %d, expected %d", c.pages.Snapshot, c.pages.Lo, at)
	}
	a.maps[c.pages.Snapshot] = c.pages.Hi
	return a.refer(m)
}

// slots checks the commitments to a pack's contents. Where one is a difference to
// a content that is lost they cannot be checked.
func (a *auditor) slots(c *chunkInfo, p *packBody) error {
	digests := make([][32]byte, len(p.bases))
	keys := slotKeys(c.pages, p)
	whole := &versions{}
	known := true
	var page [PageSize]byte
	for i := range digests {
		loc := pageLoc{pack: c.pages.Pack, slot: uint32(i)}
		if p.bases[i].pack == 0 {
			content := p.data[i*PageSize:][:PageSize:PageSize]
			digests[i] = sha256.Sum256(content)
			if keys[i].stream != 0 {
				a.versions.put(keys[i], content, loc, whole)
			}
			continue
		}
		if !a.slotContent(c.pages.Pack, p, keys[i], i, page[:]) {
			known = false
			continue
		}
		digests[i] = sha256.Sum256(page[:])
		if keys[i].stream != 0 {
			a.versions.putCopy(keys[i], page[:], loc)
		}
	}
	// The contents lie in a buffer that may have had to hold a larger chunk before.
	buffer := &a.plain
	if c.pages.Codec == codecNone {
		buffer = &a.raw
	}
	if a.versions.keepPack(whole, int64(cap(*buffer)), nil) {
		*buffer = nil // which it has now
	}
	if known && slotsRoot(p.salt, digests) != *c.pages.Commit {
		return errors.New("commitments to pages do not match their root")
	}
	return nil
}

// slotKeys tells of each slot of a pack of which page it was stored: the page that
// the pack states first with it. Stream 0: of none that the pack states.
func slotKeys(m *pagesMeta, p *packBody) []versionKey {
	keys := make([]versionKey, len(p.bases))
	for _, r := range p.runs {
		if r.state != PageData || r.pack != m.Pack {
			continue
		}
		for i := range min(r.count, uint64(len(keys))) {
			if at := uint64(r.slot) + i; at < uint64(len(keys)) && keys[at].stream == 0 {
				keys[at] = versionKey{m.Stream, r.start + i}
			}
		}
	}
	return keys
}

// slotContent puts the content of a slot that holds a difference together, from
// chunks that were found good; false when one of them is not there. The page's
// last content, which a writer stores the difference to, is mostly at hand.
func (a *auditor) slotContent(pack uint32, p *packBody, k versionKey, slot int, dst []byte) bool {
	l := p.bases[slot]
	if _, good := a.packs[l.pack]; !good {
		return false
	}
	if v, ok := a.versions.get(k); ok && v.loc == (pageLoc{pack: l.pack, slot: l.slot}) {
		subtle.XORBytes(dst, v.data, p.data[slot*PageSize:][:PageSize])
		return true
	}
	copy(dst, p.data[slot*PageSize:])
	own := p
	for range maxDelta {
		if l.pack == 0 {
			return true
		}
		q := own
		if l.pack != pack {
			o, ok := a.packs[l.pack]
			if !ok {
				return false
			}
			var err error
			if q, err = a.r.pack(o.chunk); err != nil {
				return false
			}
		}
		if int(l.slot) >= len(q.bases) {
			return false
		}
		subtle.XORBytes(dst, dst, q.data[int(l.slot)*PageSize:][:PageSize])
		l = q.bases[l.slot]
	}
	return l.pack == 0
}
