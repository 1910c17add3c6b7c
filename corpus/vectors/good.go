package vectors

import (
	"crypto/ed25519"
	_ "embed"
	"slices"
)

// The key of the sealed vector: an age file made once with `age -r`, whose
// plaintext is 32 bytes of 0x2a, and the identity that opens it.
var (
	//go:embed testdata/epoch.age
	epochAge []byte
	//go:embed testdata/identity.txt
	identity string
)

func good() []Vector {
	return []Vector{
		empty(), onePacket(), everyType(), lanes(), zstdBody(), parts(), signed(), unfinished(), noCheckpoint(),
		pageStates(), pageDelta(), pageXOR(), pageCommitments(), pageRestated(), pagesWithoutMap(), sealed(),
		unknownChunk(), unknownRecord(), appendedFields(), saved(), savedHeadless(),
	}
}

func complete(name, why string, t *tape, pages ...Page) Vector {
	return Vector{Name: name, Why: why, Expect: "complete", Bytes: t.end(), Records: t.records, Pages: pages}
}

func empty() Vector {
	return complete("empty", "a tape without a record", newTape())
}

func onePacket() Vector {
	t := newTape()
	t.write(batch{recs: []rec{streamDef(1, 3, "vif0")}})
	t.write(batch{lane: 3, recs: []rec{packet(1, -4, "hello")}})
	return complete("one-packet", "one stream, one record, at a time before zero", t)
}

func everyType() Vector {
	t := newTape()
	big := ^uint64(0)
	t.write(batch{recs: []rec{
		streamDef(1, 2, "xvda"),
		{typ: 2, time: 1, fields: anchorFields(), shown: map[string]any{"boottime": 10, "realtime": 1_700_000_000_000_000_000, "xen_system": -3, "stepped": false}},
		{typ: 3, time: 2, stream: 1, kind: 2, fields: vals(int64(-5), int64(6), uint8(4), big, 2, 0, 512, 1<<40, 1, "why"), shown: map[string]any{"from": -5, "to": 6, "reason": 4, "detail": "why"}},
		{typ: 4, time: 3, stream: 1, kind: 2, fields: vals(1, uint8(2), 1500, true, uint8(1), uint8(3), 54, 1448, 34, 16, "note", "\x00\xff"), shown: map[string]any{"orig_len": 1500, "direction": 2, "comment": "note", "data": "00ff"}},
		{typ: 5, time: 4, stream: 1, kind: 2, fields: vals(big, uint8(1), 0x7f, 1<<50, 3, "abc"), shown: map[string]any{"op": 1, "flags": 127, "length": 3, "data": "616263"}},
		{typ: 6, time: 5, stream: 1, kind: 2, fields: vals(77, int64(-2147483648)), shown: map[string]any{"id": 77, "status": -2147483648}},
		{typ: 7, time: 6, stream: 1, kind: 2, fields: vals(1, 0, 8), shown: map[string]any{"id": 1, "parent": 0, "pages": 8}},
		{typ: 8, time: 7, stream: 1, kind: 2, fields: vals(1, uint8(15), int64(1), int64(2), int64(3), int64(4), int64(5), int64(-6), 7, 8, 9, 10, "hash"), shown: map[string]any{"flags": 15, "unpause": -6, "method": "hash"}},
		{typ: 9, time: 8, stream: 1, kind: 2, fields: vals(1, "xen/vcpu/0", 1, "a", "b", 3, 0, "xyz"), shown: map[string]any{"name": "xen/vcpu/0", "total": 3, "data": "78797a"}},
		{typ: 10, time: 9, fields: vals("trigger", 0), shown: map[string]any{"kind": "trigger"}},
		{typ: 11, time: 10, fields: vals("ünïcode"), shown: map[string]any{"text": "ünïcode"}},
	}})
	return complete("every-type", "one record of every type, with extreme values", t)
}

func lanes() Vector {
	t := newTape()
	t.write(batch{recs: []rec{streamDef(1, 2, "xvda"), streamDef(2, 3, "vif0")}})
	a := packet(2, 10, "a")
	a.seq = 4
	b := packet(2, 11, "b")
	b.seq = 6
	c, d, e := mark("c"), mark("d"), mark("e")
	c.seq, d.seq, e.seq = 3, 5, 7
	t.seq = 7
	t.write(batch{lane: 3, recs: []rec{a, b}, settled: 2})
	t.write(batch{recs: []rec{c, d, e}})
	slices.SortFunc(t.records, func(a, b Record) int { return int(a.Seq) - int(b.Seq) })
	return complete("lanes", "records of two chunks interleave; the order is that of the sequence", t)
}

func zstdBody() Vector {
	t := newTape()
	t.write(batch{recs: marks(200), codec: 1})
	return complete("zstd", "a compressed body", t)
}

func parts() Vector {
	t := newTape()
	part := func(off int, s string) rec {
		return rec{typ: 9, time: 3, fields: vals(0, "blob", 0, 6, off, s), later: off > 0, seq: 2}
	}
	first := part(0, "ab")
	first.digest = (&rec{typ: 9, time: 3, seq: 2, fields: vals(0, "blob", 0, 6, 0, "abcdef")}).encode()
	t.write(batch{recs: []rec{mark("before"), first}, settled: 1})
	t.seq = 2
	t.write(batch{recs: []rec{part(2, "cd")}, settled: 1})
	t.write(batch{recs: []rec{part(4, "ef"), mark("after")}})
	return complete("attachment-in-parts", "an attachment over three chunks", t)
}

func signed() Vector {
	t := &tape{b: []byte(magic), seed: [32]byte{9}}
	t.key = ed25519.NewKeyFromSeed(t.seed[:])
	t.header(fileHeader(1, 0, t.key.Public().(ed25519.PublicKey)))
	t.write(batch{recs: marks(2)})
	t.head()
	t.write(batch{recs: marks(2)})
	t.head()
	t.write(batch{recs: marks(1)})
	v := complete("signed", "three tree heads, each signed by the key the one before names", t)
	v.Signature = "valid"
	return v
}

func unfinished() Vector {
	t := newTape()
	t.write(batch{recs: marks(3)})
	t.head()
	t.write(batch{recs: marks(2)})
	return Vector{Name: "unfinished", Why: "whole chunks and no footer: a recording that goes on, or that was cut off", Expect: "unfinished", Bytes: t.b, Records: t.records}
}

func noCheckpoint() Vector {
	t := newTape()
	t.write(batch{recs: marks(3)})
	return Vector{Name: "unfinished-without-index", Why: "not even an index", Expect: "unfinished", Bytes: t.b, Records: t.records}
}

func pageStates() Vector {
	return complete("page-states", "data, zero, ballooned and absent are different", snapshotTape(), firstPages...)
}

func pageDelta() Vector {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	runs := []run{{1, 1, 1, 2, 0}, {5, 1, 1, 1, 3}, {6, 1, 4, 0, 0}}
	t.pages(pagesChunk{snapshot: 2, parent: 1, pack: 2, final: true, runs: runs, pages: [][]byte{fill(9)}})
	t.pageMap(2, 1, false, runs...)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(2)}})
	return complete("page-parent", "a second snapshot on the first; one page's content is in the first one's pack", t,
		append(slices.Clone(firstPages), data(2, 0, fill(1)), data(2, 1, fill(9)), data(2, 5, fill(4)), state(2, 6, 4), state(2, 4, 2))...)
}

func pageXOR() Vector {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	changed := fill(2)
	changed[77] = 0xee
	again := slices.Clone(changed)
	again[4095] = 0
	runs := []run{{1, 2, 1, 2, 0}}
	t.pages(pagesChunk{snapshot: 2, parent: 1, pack: 2, final: true, runs: runs, bases: []base{{1, 1}, {2, 0}}, pages: [][]byte{xor(changed, fill(2)), xor(again, changed)}, codec: 1})
	t.pageMap(2, 1, false, runs...)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(2)}})
	return complete("page-xor", "pages stored as differences, one of them to a difference", t, data(2, 1, changed), data(2, 2, again), data(1, 1, fill(2)))
}

// commitTape has a snapshot whose chunks commit themselves to contents and
// statements.
func commitTape(contents [][]byte, statements []run) *tape {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	runs := []run{{1, 2, 1, 2, 0}, {9, 1, 4, 0, 0}}
	if statements == nil {
		statements = runs
	}
	t.pages(pagesChunk{
		snapshot: 2, parent: 1, pack: 2, final: true, runs: runs, bases: []base{{1, 1}}, codec: 1,
		pages: [][]byte{xor(fill(8), fill(2)), fill(9)}, contents: contents,
	})
	t.committedMap(2, 1, runs, statements)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(2)}})
	return t
}

func pageCommitments() Vector {
	t := commitTape([][]byte{fill(8), fill(9)}, nil)
	return complete("page-commitments", "pages and statements are committed to, a difference by what it leads to", t, data(2, 1, fill(8)), data(2, 2, fill(9)), state(2, 9, 4), data(2, 0, fill(1)))
}

func pageRestated() Vector {
	t := newTape()
	t.write(batch{recs: []rec{streamDef(1, 1, "memory")}})
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(1, 0)}})
	t.pages(pagesChunk{snapshot: 1, pack: 1, runs: []run{{0, 2, 1, 1, 0}}, pages: [][]byte{fill(1), fill(2)}})
	t.pages(pagesChunk{snapshot: 1, part: 1, pack: 2, again: 2, final: true, runs: []run{{1, 1, 1, 2, 0}, {0, 1, 2, 0, 0}}, pages: [][]byte{fill(3)}})
	t.content(tMap, 0, encodeRuns([]run{{0, 1, 2, 0, 0}, {1, 1, 1, 2, 0}}), func(codec uint8, epoch int) []byte {
		return vals(codec, epoch, 1, 1, 0, limit, 0, 0, 0, 2, 0, 0, limit, false, true)
	})
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(1)}})
	return complete("page-restated", "of two statements the later holds", t, state(1, 0, 2), data(1, 1, fill(3)))
}

func pagesWithoutMap() Vector {
	t := newTape()
	t.write(batch{recs: []rec{streamDef(1, 1, "memory")}})
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(1, 0)}})
	t.pages(pagesChunk{snapshot: 1, pack: 1, runs: []run{{0, 1, 1, 1, 0}}, pages: [][]byte{fill(1)}})
	return Vector{Name: "snapshot-unfinished", Why: "a snapshot that was not finished: what it states holds, the rest is unknown", Expect: "unfinished", Bytes: t.b, Records: t.records,
		Pages: []Page{data(1, 0, fill(1)), state(1, 1, -1)}}
}

func sealed() Vector {
	t := &tape{b: []byte(magic)}
	t.header(fileHeader(1, 1, nil))
	key := vals(1, len(epochAge), epochAge)
	t.add(tKey, nil, key)
	t.add(tKey, nil, key)
	t.seal(slices.Repeat([]byte{0x2a}, 32))
	t.write(batch{recs: marks(3), codec: 1})
	t.write(batch{recs: []rec{streamDef(1, 1, "memory")}})
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(1, 0)}})
	runs := []run{{0, 1, 1, 1, 0}}
	t.pages(pagesChunk{snapshot: 1, pack: 1, final: true, runs: runs, pages: [][]byte{fill(1)}, codec: 1})
	t.pageMap(1, 0, true, runs...)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(1)}})
	t.writeIndex(vals(1, key))
	t.checkpoint()
	return Vector{Name: "sealed", Why: "content encrypted to an age recipient", Expect: "complete", Bytes: t.foot(), Records: t.records, Identity: identity,
		Pages: []Page{data(1, 0, fill(1))}}
}

func unknownChunk() Vector {
	t := newTape()
	t.write(batch{recs: marks(1)})
	t.add(0x3f, []byte("?"), []byte("of a later version"))
	t.write(batch{recs: marks(1)})
	return complete("unknown-chunk", "an ancillary chunk of unknown type is skipped", t)
}

func unknownRecord() Vector {
	t := newTape()
	t.write(batch{recs: []rec{mark("a"), {typ: 44, time: 9, fields: []byte{1, 2, 3}}, mark("b")}})
	return complete("unknown-record", "a record of unknown type counts in the sequence and is skipped", t)
}

func appendedFields() Vector {
	t := newTape()
	m := mark("longer")
	m.digest = (&rec{typ: 11, time: 9, seq: 1, fields: vals("longer")}).encode()
	m.fields = append(m.fields, 0xff, 1)
	t.write(batch{recs: []rec{m, mark("b")}, change: func(m *recordsMeta) { m.perStream = append(m.perStream, 9, 9) }})
	return complete("appended-fields", "fields of a later minor version at the end of a record and of a meta are ignored", t)
}

func saved() Vector {
	t := newTape()
	t.write(batch{recs: marks(2)})
	t.lose()
	t.number += 2 // two chunks with records 3 to 7 are lost
	t.seq = 7
	t.write(batch{recs: marks(1)})
	gap := rec{typ: 3, time: 9, seq: 3, fields: vals(int64(9), int64(9), uint8(5), 5, 0, "lost")}
	t.write(batch{recs: []rec{gap}, settled: 1})
	slices.SortFunc(t.records, func(a, b Record) int { return int(a.Seq) - int(b.Seq) })
	t.write(batch{typ: tRepeat, recs: []rec{gap}, settled: 1})
	t.add(tLoss, vals(uint8(0), 0), vals(1234, [32]byte{1}, 0, 1, 4, 2, false, 1, 3, 7, 5))
	return complete("salvaged", "chunks are lost, and a loss chunk says so", t)
}

func savedHeadless() Vector {
	v := complete("salvaged-without-header", "of a signed tape all copies of the header were lost: nothing leads to its first key", headless(twoHeads()))
	v.Signature = "unlinked"
	return v
}

// twoHeads is a signed tape with two tree heads, and no footer.
func twoHeads() *tape {
	t := signedThree()
	t.head()
	t.write(batch{recs: marks(1)})
	t.head()
	return t
}

// headless is what salvage makes of a signed tape that lost its header, and with
// its indexes the copies of that.
func headless(t *tape) *tape {
	// What is still known of the header: the version and the tape's id.
	s := &tape{b: []byte(magic), seq: t.seq, records: t.records, note: t.note}
	s.head1 = vals(uint8(1), uint8(0), 0, 0, tapeID, "", 0, int64(0), 0, 0, [16]byte{}, int64(0), int64(0), int64(0), 0, false, 0, int64(0), 0)
	var runs [][2]int // first, count
	for _, c := range t.chunks {
		if c.typ == tHeader || c.typ == tIndex {
			if n := len(runs); n > 0 && runs[n-1][0]+runs[n-1][1] == int(c.number) {
				runs[n-1][1]++
				continue
			}
			runs = append(runs, [2]int{int(c.number), 1})
			s.lose()
			continue
		}
		s.number = c.number
		kept := *c
		s.put(&kept)
	}
	loss := vals(len(t.b), [32]byte{1}, 0, len(runs))
	for _, r := range runs {
		loss = vals(loss, r[0], r[1], false)
	}
	s.add(tLoss, vals(uint8(0), 0), vals(loss, 0))
	return s
}
