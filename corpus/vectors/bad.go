package vectors

import (
	"crypto/ed25519"
	"slices"
)

func bad() []Vector {
	return []Vector{
		badMagic(), majorTwo(), incompatBit(), criticalChunk(), notATape(),
		flippedBody(), flippedHead(), flippedMeta(), truncated(), missingChunk(), chunkTwice(), foreignChunk(),
		bomb(), sizeLie(), notShortest(), boolTwo(), recordTooLong(), metaCount(), metaTypes(), metaRoot(),
		sequenceHole(), sequenceTwice(), settledLie(), slotLoop(), packMissing(), packTwice(), runsOutside(),
		indexLoop(), indexLie(), rootWrong(), headWrong(), signatureWrong(), keyNotDue(), headersRepeated(), headersLost(), headlessUnsigned(), attachmentHole(), mapLost(), pagesLost(),
		slotRoot(), runRoot(),
	}
}

func damaged(name, why string, t *tape, b []byte, kinds ...string) Vector {
	return Vector{Name: name, Why: why, Expect: "damage", Kinds: kinds, Bytes: b, Records: t.records}
}

func refused(name, why string, b []byte) Vector {
	return Vector{Name: name, Why: why, Expect: "refuse", Bytes: b}
}

func badMagic() Vector {
	t := newTape()
	t.write(batch{recs: marks(2)})
	b := t.end()
	b[5], b[6] = '\n', '\n'
	return damaged("bad-magic", "the magic as a transfer in text mode leaves it; the rest is whole", t, b, "magic")
}

func majorTwo() Vector {
	t := &tape{b: []byte(magic)}
	t.header(fileHeader(2, 0, nil))
	t.write(batch{recs: marks(2), hide: true})
	return refused("major-2", "another major version", t.end())
}

func incompatBit() Vector {
	t := &tape{b: []byte(magic)}
	t.header(fileHeader(1, 1<<40, nil))
	return refused("incompat-bit", "a feature that a reader must know and this one does not", t.end())
}

func criticalChunk() Vector {
	t := newTape()
	t.add(0xc0, nil, []byte("?"))
	return refused("critical-chunk", "a critical chunk of unknown type", t.end())
}

func notATape() Vector {
	return refused("not-a-tape", "only a magic", []byte(magic))
}

// three writes three chunks of two marks each, of which those in hide are not
// expected back.
func three(hide ...int) (*tape, [3]*chunk) {
	t := newTape()
	var cs [3]*chunk
	for i := range cs {
		cs[i] = t.write(batch{recs: marks(2), hide: slices.Contains(hide, i)})
	}
	return t, cs
}

func flippedBody() Vector {
	t, cs := three(1)
	b := t.end()
	b[cs[1].off+48+len(cs[1].meta)+20] ^= 1
	return damaged("flip-body", "one bit of a body", t, b, "body")
}

func flippedHead() Vector {
	t, cs := three(1)
	b := t.end()
	b[cs[1].off+33] ^= 0x10 // stored: the chunk seems longer
	return damaged("flip-length", "one bit of a header's length: the next chunk is found all the same", t, b, "header", "missing")
}

func flippedMeta() Vector {
	t, cs := three(1)
	b := t.end()
	b[cs[1].off+50] ^= 2
	return damaged("flip-meta", "one bit of a meta", t, b, "header", "missing")
}

func truncated() Vector {
	t, cs := three(2)
	return damaged("truncated", "the file ends within the third chunk", t, t.b[:cs[2].off+60], "truncated")
}

func missingChunk() Vector {
	t := newTape()
	t.write(batch{recs: marks(2)})
	t.number++
	t.seq += 2
	t.write(batch{recs: marks(2)})
	return damaged("chunk-missing", "a chunk number that is nowhere, and no loss chunk", t, t.end(), "missing")
}

func chunkTwice() Vector {
	t, cs := three()
	cut := t.b[cs[1].off:cs[2].off]
	t.b = append(t.b, cut...)
	return damaged("chunk-twice", "a chunk comes again; its records must not", t, t.end(), "duplicate")
}

func foreignChunk() Vector {
	t, cs := three(1)
	b := t.end()
	// The middle chunk as one of another tape, with a checksum that holds.
	own := tapeID
	tapeID[15]++
	o := &tape{b: make([]byte, 0)}
	c := *cs[1]
	o.put(&c)
	tapeID = own
	copy(b[cs[1].off:], o.b)
	return damaged("chunk-of-another-tape", "a chunk with another tape's id is not one of this tape", t, b, "header", "missing")
}

func bomb() Vector {
	t, _ := three()
	t.number++
	body := make([]byte, 1<<22)
	z := &tape{}
	c := z.content(tRecords, 1, body, func(codec uint8, epoch int) []byte { return nil })
	meta := vals(uint8(1), 0, uint8(0), 1, 7, 0, 7, int64(9), 0, 1<<11, [32]byte{}, 1, 0, uint8(0), 1, 0)
	t.put(&chunk{typ: tRecords, number: t.number, stored: c.stored, size: 64, meta: meta})
	return damaged("bomb", "a body that decompresses to 65536 times its declared size", t, t.end(), "content")
}

func sizeLie() Vector {
	t, _ := three()
	t.number++
	t.put(&chunk{typ: tRecords, number: t.number, stored: []byte("0123456789abcdef"), size: 99,
		meta: vals(uint8(0), 0, uint8(0), 0, 7, 0, 6, int64(9), 0, 0, [32]byte{}, 0)})
	return damaged("size-lie", "an uncompressed body that is not of its declared size", t, t.end(), "content")
}

// oneBad writes a good chunk, one with a record that must not be accepted, and
// another good one.
func oneBad(fields []byte, typ uint8) *tape {
	t := newTape()
	t.write(batch{recs: marks(1)})
	t.write(batch{recs: []rec{{typ: typ, time: 9, fields: fields}}, hide: true})
	t.write(batch{recs: marks(1)})
	return t
}

func notShortest() Vector {
	t := oneBad([]byte{0x81, 0x00, 'x'}, 11)
	return damaged("leb-not-shortest", "a length of 1 in two bytes", t, t.end(), "content")
}

func boolTwo() Vector {
	t := oneBad(vals(1, uint8(1), 1, uint8(2), "", "x"), 4)
	return damaged("bool-2", "a bool that is neither 0 nor 1", t, t.end(), "content")
}

func recordTooLong() Vector {
	t := oneBad(vals(1<<40), 11)
	return damaged("length-beyond", "a string of a tebibyte in a record of a few bytes", t, t.end(), "content")
}

func lying(name, why string, lie func(*recordsMeta)) Vector {
	t := newTape()
	t.write(batch{recs: marks(1)})
	t.write(batch{recs: marks(2), change: lie})
	return damaged(name, why, t, t.end(), "content", "sequence")
}

func metaCount() Vector {
	t := newTape()
	t.write(batch{recs: marks(1)})
	t.write(batch{recs: marks(2), change: func(m *recordsMeta) { m.count++ }, hide: true})
	return damaged("meta-count", "a meta that announces a record more than there is", t, t.end(), "content")
}

func metaTypes() Vector {
	return lying("meta-types", "a meta that does not announce a type", func(m *recordsMeta) { m.types = 1 << 4 })
}

func metaRoot() Vector {
	return lying("meta-root", "commitments that do not lead to their root", func(m *recordsMeta) { m.root[0] ^= 1 })
}

func sequenceHole() Vector {
	t := newTape()
	t.write(batch{recs: marks(1)})
	t.seq++
	t.write(batch{recs: marks(1)})
	return damaged("sequence-hole", "a number that no record has, with every chunk there", t, t.end(), "sequence")
}

func sequenceTwice() Vector {
	t := newTape()
	t.write(batch{recs: marks(2)})
	m := mark("again")
	m.seq = 2
	t.write(batch{recs: []rec{m}, lane: 4, hide: true})
	v := damaged("sequence-twice", "two records with one number", t, t.end(), "sequence")
	v.Records = nil // which of the two is right cannot be told
	return v
}

func settledLie() Vector {
	t := newTape()
	t.write(batch{recs: marks(1), settled: 2})
	t.write(batch{recs: marks(1)})
	return damaged("settled-lie", "a chunk that claims a later one's record to be there", t, t.end(), "sequence", "content")
}

func slotLoop() Vector {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	runs := []run{{1, 2, 1, 2, 0}}
	t.pages(pagesChunk{snapshot: 2, parent: 1, pack: 2, final: true, runs: runs, bases: []base{{2, 1}, {2, 0}}, pages: [][]byte{fill(8), fill(7)}})
	t.pageMap(2, 1, false, runs...)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(2)}})
	v := damaged("slot-loop", "two pages that are differences to each other", t, t.end(), "content")
	v.Pages = []Page{data(1, 1, fill(2)), state(2, 1, -1), state(2, 2, -1), data(2, 0, fill(1))}
	return v
}

func packMissing() Vector {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	runs := []run{{1, 1, 1, 77, 0}}
	t.pages(pagesChunk{snapshot: 2, parent: 1, pack: 2, final: true, runs: runs})
	t.pageMap(2, 1, false, runs...)
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(2)}})
	v := damaged("pack-missing", "a page in a pack that is nowhere", t, t.end(), "content")
	v.Pages = []Page{data(1, 1, fill(2)), state(2, 1, -1), data(2, 0, fill(1))}
	return v
}

func packTwice() Vector {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	t.pages(pagesChunk{snapshot: 2, parent: 1, pack: 1, final: true, runs: []run{{1, 1, 1, 1, 0}}, pages: [][]byte{fill(9)}})
	t.write(batch{lane: 1, recs: []rec{snapshotEnd(2)}})
	v := damaged("pack-twice", "two packs with one number", t, t.end(), "content")
	v.Pages = []Page{data(1, 0, fill(1))}
	return v
}

func runsOutside() Vector {
	t := snapshotTape()
	t.write(batch{lane: 1, recs: []rec{snapshotBegin(2, 1)}})
	t.pages(pagesChunk{snapshot: 2, parent: 1, pack: 2, final: true, runs: []run{{15, 1 << 40, 2, 0, 0}}})
	v := damaged("run-beyond-limit", "a run of a tebi of pages in an image of sixteen", t, t.b, "content")
	v.Pages = []Page{data(1, 0, fill(1))}
	return v
}

func indexLoop() Vector {
	t, _ := three()
	t.index = len(t.b) // the index names itself as the one before
	return damaged("index-loop", "an index that is its own predecessor", t, t.end(), "content")
}

func indexLie() Vector {
	t, cs := three()
	cs[1].leaf[0] ^= 1
	t.writeIndex(nil)
	cs[1].leaf[0] ^= 1
	t.checkpoint()
	return damaged("index-lie", "an index with another hash of a chunk", t, t.foot(), "content")
}

func rootWrong() Vector {
	t, cs := three()
	t.head()
	cs[0].leaf[0] ^= 1
	return damaged("footer-root", "a footer with another root than the chunks have", t, t.foot(), "footer")
}

func headWrong() Vector {
	t, cs := three()
	t.writeIndex(nil)
	cs[0].leaf[0] ^= 1
	t.checkpoint()
	cs[0].leaf[0] ^= 1
	return damaged("checkpoint-root", "a tree head that is not that of the chunks", t, t.foot(), "tree")
}

func signedThree() *tape {
	t := &tape{b: []byte(magic), seed: [32]byte{9}}
	t.key = ed25519.NewKeyFromSeed(t.seed[:])
	t.header(fileHeader(1, 0, t.key.Public().(ed25519.PublicKey)))
	t.write(batch{recs: marks(2)})
	return t
}

func signatureWrong() Vector {
	t := signedThree()
	t.key = ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, 32))
	v := damaged("signature-wrong", "a tree head signed by another key than the header names", t, t.end(), "signature")
	v.Signature = "bad"
	return v
}

func keyNotDue() Vector {
	t := signedThree()
	first, seed := t.key, t.seed
	t.head()
	t.key, t.seed = first, seed
	t.write(batch{recs: marks(1)})
	v := damaged("key-used-twice", "a tree head signed by a key that should have been erased", t, t.end(), "signature")
	v.Signature = "bad"
	return v
}

// flipBodies changes a bit in the body of every chunk of some types.
func (t *tape) flipBodies(types ...uint8) []byte {
	b := slices.Clone(t.b)
	for _, c := range t.chunks {
		if slices.Contains(types, c.typ) {
			b[c.off+48+len(c.meta)] ^= 1
		}
	}
	return b
}

func headersRepeated() Vector {
	t := signedThree()
	t.end()
	v := damaged("headers-damaged", "both headers of a signed tape are damaged: the index has who signs", t, t.flipBodies(tHeader), "body")
	v.Signature = "valid"
	return v
}

func headersLost() Vector {
	t := twoHeads()
	v := damaged("headers-lost", "all copies of the header of a signed tape are damaged: nothing leads to its first key", t, t.flipBodies(tHeader, tIndex), "body")
	v.Signature = "unlinked"
	return v
}

func headlessUnsigned() Vector {
	t := signedThree()
	t.head()
	t.key = nil
	t.write(batch{recs: marks(1)})
	t.head()
	v := damaged("salvaged-without-header-unsigned", "as salvaged-without-header, but the second tree head is not signed", t, headless(t).end(), "signature")
	v.Signature = "bad"
	return v
}

func attachmentHole() Vector {
	t := newTape()
	part := func(off int, s string) rec {
		return rec{typ: 9, time: 3, fields: vals(0, "blob", 0, 6, off, s), later: off > 0, seq: 2}
	}
	t.write(batch{recs: []rec{mark("before")}})
	t.seq = 2
	t.write(batch{recs: []rec{part(0, "ab")}, settled: 1, hide: true})
	lost := t.write(batch{recs: []rec{part(2, "cd")}, settled: 1})
	t.write(batch{recs: []rec{part(4, "ef"), mark("after")}})
	b := t.end()
	b[lost.off+48+len(lost.meta)] ^= 1
	return damaged("attachment-hole", "the middle part of an attachment is damaged: none of it comes back", t, b, "body")
}

func mapLost() Vector {
	t := snapshotTape()
	c := t.chunks[5]
	b := t.end()
	b[c.off+48+len(c.meta)] ^= 1
	v := damaged("map-damaged", "a snapshot's map is damaged: its pages chunks say the same", t, b, "body")
	v.Pages = firstPages
	return v
}

func pagesLost() Vector {
	t := snapshotTape()
	c := t.chunks[4]
	b := t.end()
	b[c.off+48+len(c.meta)] ^= 1
	v := damaged("pages-damaged", "a snapshot's pages are damaged: its map still tells zero from lost", t, b, "body")
	v.Pages = []Page{state(1, 0, -1), state(1, 3, -1), state(1, 5, 2), state(1, 6, 3), state(1, 7, 0)}
	return v
}

func slotRoot() Vector {
	t := commitTape([][]byte{fill(8), fill(7)}, nil)
	return damaged("slot-root", "a pages chunk commits itself to another page than it holds", t, t.end(), "content")
}

func runRoot() Vector {
	t := commitTape([][]byte{fill(8), fill(9)}, []run{{1, 2, 1, 2, 0}, {9, 1, 5, 0, 0}})
	return damaged("run-root", "a map chunk commits itself to another statement than it makes", t, t.end(), "content")
}
