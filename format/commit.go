package format

import (
	"crypto/sha256"
	"encoding/binary"
)

// Commitments let one record, one page or one statement about pages be proved
// without the rest of its chunk: the chunk's meta has the root of a tree over
// them, and each is salted, so that who sees the hashes of its neighbours cannot
// test guesses of them (SPEC.md §7.1).

// commitment is what a pages or map chunk commits itself to.
type commitment struct {
	leaves uint64
	root   [32]byte
}

// slotsRoot is the root over the contents of a pack's slots.
func slotsRoot(salt [saltSize]byte, digests [][sha256.Size]byte) commitment {
	var t tree
	for i := range digests {
		t.add(recordLeaf(recordSalt(salt[:], i), digests[i][:]))
	}
	return commitment{t.size, t.root()}
}

// runsRoot is the root over the runs of a map chunk.
func runsRoot(salt [saltSize]byte, runs []pageRun) commitment {
	var t tree
	var b []byte
	for i := range runs {
		b = runs[i].appendAlone(b[:0])
		t.add(recordLeaf(recordSalt(salt[:], i), b))
	}
	return commitment{t.size, t.root()}
}

// appendAlone encodes a run as it is committed to: by itself, with its first page
// as it is.
func (r *pageRun) appendAlone(b []byte) []byte {
	b = binary.AppendUvarint(b, r.start)
	b = binary.AppendUvarint(b, r.count)
	b = append(b, byte(r.state))
	if r.state == PageData {
		b = binary.AppendUvarint(b, uint64(r.pack))
		b = binary.AppendUvarint(b, uint64(r.slot))
	}
	return b
}

// parseRunAlone decodes what appendAlone encoded, and nothing after it.
func parseRunAlone(b []byte) (pageRun, error) {
	d := &decoder{b: b}
	r := pageRun{start: d.uint("first page"), count: d.uint("pages"), state: PageState(d.uint8("page state"))}
	if r.state == PageData {
		r.pack, r.slot = d.uint32("pack"), uint32(d.uintMax("slot", maxSlots))
	}
	if d.err == nil && (len(d.b) != 0 || r.start+r.count < r.start) {
		d.fail("run", errSlots)
	}
	return r, d.err
}
