package format

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// loss is the body of a loss chunk: what salvage could not save (SPEC.md §6.4).
type loss struct {
	SourceSize uint64
	SourceHash [32]byte // SHA-256 of the tape as it was found
	Signer     []byte   // Ed25519 public key of who saved it; empty when not signed
	Chunks     []lostChunks
	Records    []lostRecords
}

// lostChunks are chunk numbers that are not in the file. Leaves are their hashes
// in the Merkle log where an index had them: then tree heads from before the
// loss can still be checked.
type lostChunks struct {
	First, Count uint64
	Leaves       [][32]byte // Count of them, or none
}

// lostRecords are sequence numbers of which Count are lost. Gap records take the
// first of them.
type lostRecords struct{ First, Last, Count uint64 }

func (l *loss) append(b []byte) []byte {
	b = binary.AppendUvarint(b, l.SourceSize)
	b = append(b, l.SourceHash[:]...)
	b = appendBytes(b, l.Signer)
	b = binary.AppendUvarint(b, uint64(len(l.Chunks)))
	for _, c := range l.Chunks {
		b = binary.AppendUvarint(b, c.First)
		b = binary.AppendUvarint(b, c.Count)
		b = appendBool(b, c.Leaves != nil)
		for _, h := range c.Leaves {
			b = append(b, h[:]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(l.Records)))
	for _, r := range l.Records {
		b = binary.AppendUvarint(b, r.First)
		b = binary.AppendUvarint(b, r.Last)
		b = binary.AppendUvarint(b, r.Count)
	}
	return b
}

func parseLoss(b []byte) (*loss, error) {
	d := &decoder{b: b}
	l := &loss{SourceSize: d.uint("source size")}
	d.fixed("source hash", l.SourceHash[:])
	l.Signer = d.bytes("signer")
	l.Chunks = make([]lostChunks, d.count("lost chunks", 3, MaxChunk))
	for i := range l.Chunks {
		c := &l.Chunks[i]
		c.First, c.Count = d.uint("first"), d.uint("count")
		if !d.bool("leaves known") || d.err != nil {
			continue
		}
		if c.Count > uint64(len(d.b)/32) {
			d.fail("leaves", errShort)
			continue
		}
		c.Leaves = make([][32]byte, c.Count)
		for k := range c.Leaves {
			d.fixed("leaf", c.Leaves[k][:])
		}
	}
	l.Records = make([]lostRecords, d.count("lost records", 3, MaxChunk))
	for i := range l.Records {
		l.Records[i] = lostRecords{First: d.uint("first"), Last: d.uint("last"), Count: d.uint("count")}
	}
	if d.err != nil {
		return nil, fmt.Errorf("loss: %w", d.err)
	}
	return l, nil
}

// accounts reports whether salvage recorded count chunks from first on as lost.
func (r *Reader) accounts(first, count uint64) bool {
	for count > 0 {
		i := -1
		var g lostChunks
		for _, l := range r.losses {
			if i = slices.IndexFunc(l.Chunks, func(c lostChunks) bool { return c.First == first }); i >= 0 {
				g = l.Chunks[i]
				break
			}
		}
		if i < 0 || g.Count == 0 || g.Count > count {
			return false
		}
		first, count = first+g.Count, count-g.Count
	}
	return true
}

// lostRange reports whether all sequence numbers from first to last are recorded
// as lost.
func (r *Reader) lostRange(first, last uint64) bool {
	for first <= last {
		i := -1
		var end uint64
		for _, l := range r.losses {
			if i = slices.IndexFunc(l.Records, func(r lostRecords) bool { return r.First <= first && first <= r.Last }); i >= 0 {
				end = l.Records[i].Last
				break
			}
		}
		if i < 0 {
			return false
		}
		if end == Unknown {
			return true
		}
		first = end + 1
	}
	return true
}
