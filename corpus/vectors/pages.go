package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// run states pages; pack and slot are for state 1.
type run struct {
	start, count int
	state        uint8
	pack, slot   int
}

func encodeRuns(runs []run) []byte {
	b := vals(len(runs))
	at := 0
	for _, r := range runs {
		b = vals(b, int64(r.start-at), r.count, r.state)
		if r.state == 1 {
			b = vals(b, r.pack, r.slot)
		}
		at = r.start + r.count
	}
	return b
}

// base of a slot; pack 0 is none.
type base struct{ pack, slot int }

// pagesChunk is a pages chunk to be written.
type pagesChunk struct {
	snapshot, parent, part, pack int
	restated, again              int
	final                        bool
	runs                         []run
	bases                        []base
	pages                        [][]byte
	codec                        uint8
	contents                     [][]byte // to commit to; nil: none, as in tapes of 1.0
}

// commit adds the salt to a body and makes the end of the meta, SPEC.md §7.1.
func commit(body []byte, values [][]byte) (salted, meta []byte) {
	salt := sha256.Sum256(body)
	var leaves [][32]byte
	for i, v := range values {
		s := sha256.Sum256(binary.LittleEndian.AppendUint32(slices.Clone(salt[:16]), uint32(i)))
		leaves = append(leaves, hash(0, s[:16], v))
	}
	return append(body, salt[:16]...), vals(len(values), mth(leaves))
}

const limit = 16 // pages of every image here

func (t *tape) pages(p pagesChunk) *chunk {
	b := vals(bytes.Join(p.pages, nil), encodeRuns(p.runs), len(p.pages))
	for i := range p.pages {
		var l base
		if i < len(p.bases) {
			l = p.bases[i]
		}
		b = vals(b, l.pack)
		if l.pack != 0 {
			b = vals(b, l.slot)
		}
	}
	var tail []byte
	if p.contents != nil {
		var sums [][]byte
		for _, c := range p.contents {
			s := sha256.Sum256(c)
			sums = append(sums, s[:])
		}
		b, tail = commit(b, sums)
	}
	return t.content(tPages, p.codec, b, func(codec uint8, epoch int) []byte {
		return vals(codec, epoch, 1, p.snapshot, p.parent, limit, p.part, p.pack, len(p.pages), p.restated, p.again, 0, 0, p.final, false, tail)
	})
}

// committedMap is pageMap with commitments to statements, which need not be to
// its runs.
func (t *tape) committedMap(snapshot, parent int, runs, statements []run) *chunk {
	var values [][]byte
	for _, r := range statements {
		v := vals(r.start, r.count, r.state)
		if r.state == 1 {
			v = vals(v, r.pack, r.slot)
		}
		values = append(values, v)
	}
	b, tail := commit(encodeRuns(runs), values)
	return t.content(tMap, 0, b, func(codec uint8, epoch int) []byte {
		return vals(codec, epoch, 1, snapshot, parent, limit, 0, 0, 0, 0, 0, 0, limit, false, false, tail)
	})
}

func (t *tape) pageMap(snapshot, parent int, full bool, runs ...run) *chunk {
	return t.content(tMap, 0, encodeRuns(runs), func(codec uint8, epoch int) []byte {
		return vals(codec, epoch, 1, snapshot, parent, limit, 0, 0, 0, 0, 0, 0, limit, false, full)
	})
}

func snapshotBegin(id, parent int) rec {
	return rec{typ: 7, stream: 1, kind: 1, time: 20, fields: vals(id, parent, limit)}
}

func snapshotEnd(id int) rec {
	return rec{typ: 8, stream: 1, kind: 1, time: 30, fields: vals(id, uint8(9), int64(21), int64(22), int64(23), int64(0), int64(24), int64(25), 0, 16, 4, ^uint64(0), "full")}
}

func fill(c byte) []byte { return bytes.Repeat([]byte{c}, 4096) }

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

func data(snapshot uint32, page uint64, content []byte) Page {
	s := sha256.Sum256(content)
	return Page{Snapshot: snapshot, Page: page, State: 1, SHA256: hex.EncodeToString(s[:])}
}

func state(snapshot uint32, page uint64, st int) Page {
	return Page{Snapshot: snapshot, Page: page, State: st}
}

// snapshotTape begins a tape with one memory stream and one snapshot: pages 0 to
// 3 of content 1 to 4, pages 4 and 5 zero, 6 ballooned.
func snapshotTape() *tape {
	t := newTape()
	t.write(batch{recs: []rec{streamDef(1, 1, "memory")}})
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(1, 0)}})
	runs := []run{{0, 4, 1, 1, 0}, {4, 2, 2, 0, 0}, {6, 1, 3, 0, 0}}
	t.pages(pagesChunk{snapshot: 1, pack: 1, final: true, runs: runs, pages: [][]byte{fill(1), fill(2), fill(3), fill(4)}, codec: 1})
	t.pageMap(1, 0, true, runs...)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(1)}})
	return t
}

var firstPages = []Page{data(1, 0, fill(1)), data(1, 3, fill(4)), state(1, 5, 2), state(1, 6, 3), state(1, 7, 0)}
