package format

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// lane collects the records of one kind of stream into chunks, so that a reader
// of packets does not decompress disk writes (SPEC.md §4.3).
type lane struct {
	kind    StreamKind
	body    []byte // salt, then records with their lengths
	offsets []int  // where each record's length begins
	meta    recordsMeta
	streams map[StreamID]*streamCount
}

const saltSize = 16

func (l *lane) empty() bool { return len(l.offsets) == 0 }

// add appends an encoded record. begins is false for the later parts of an
// attachment.
func (l *lane) add(rec []byte, s *Stamp, t RecordType, kind StreamKind, begins bool) {
	m := &l.meta
	if l.empty() {
		l.body = append(l.body[:0], make([]byte, saltSize)...)
		*m = recordsMeta{Lane: l.kind, FirstSeq: s.Seq, MinTime: s.Time, MaxTime: s.Time}
		l.streams = map[StreamID]*streamCount{}
	}
	l.offsets = append(l.offsets, len(l.body))
	l.body = binary.AppendUvarint(l.body, uint64(len(rec)))
	l.body = append(l.body, rec...)
	m.LastSeq = s.Seq
	m.MinTime, m.MaxTime = min(m.MinTime, s.Time), max(m.MaxTime, s.Time)
	m.Types |= 1 << t
	c := l.streams[s.Stream]
	if c == nil {
		c = &streamCount{ID: s.Stream, Kind: kind}
		l.streams[s.Stream] = c
	}
	if begins {
		m.Count++
		c.Count++
		if t == TypeGap {
			c.Gaps++
		}
	}
}

// take returns the lane's chunk and empties the lane. salt blinds the record
// commitments of the chunk.
func (l *lane) take(t chunkType, settled uint64, salt [saltSize]byte) *draft {
	m, body, offsets := l.meta, l.body, l.offsets
	m.Settled = settled
	for _, c := range l.streams {
		m.Streams = append(m.Streams, *c)
	}
	slices.SortFunc(m.Streams, func(a, b streamCount) int { return int(a.ID) - int(b.ID) })
	copy(body, salt[:])
	d := &draft{head: chunkHead{Type: t}, plain: body}
	d.meta = func(plain []byte, bm bodyMeta) []byte {
		m.bodyMeta = bm
		m.Root = recordsRoot(plain, offsets)
		return m.append(nil)
	}
	l.body, l.offsets, l.streams = make([]byte, 0, len(body)), nil, nil
	return d
}

// chunkSalt derives a chunk's salt from the tape's secret and the number of the
// chunk before it, so that equal inputs make equal tapes.
func chunkSalt(secret []byte, previous uint64) (s [saltSize]byte) {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("salt"))
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], previous)
	h.Write(n[:])
	copy(s[:], h.Sum(nil))
	return s
}

// recordSalt is the salt of record i of a chunk. Who gets it with the record can
// check the commitment; who does not cannot test guesses of the record.
func recordSalt(chunk []byte, i int) (s [saltSize]byte) {
	var b [saltSize + 4]byte
	copy(b[:], chunk)
	binary.LittleEndian.PutUint32(b[saltSize:], uint32(i))
	h := sha256.Sum256(b[:])
	copy(s[:], h[:])
	return s
}

func recordLeaf(salt [saltSize]byte, rec []byte) [32]byte {
	var b [256]byte // most are short: statements, and digests of pages
	if n := 1 + saltSize + len(rec); n <= len(b) {
		copy(b[1:], salt[:])
		copy(b[1+saltSize:], rec)
		return sha256.Sum256(b[:n])
	}
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(salt[:])
	h.Write(rec)
	var out [32]byte
	h.Sum(out[:0])
	return out
}

// recordsRoot is the Merkle root over the salted records of a chunk body.
func recordsRoot(body []byte, offsets []int) [32]byte {
	var t tree
	for i, o := range offsets {
		n, k := binary.Uvarint(body[o:])
		t.add(recordLeaf(recordSalt(body[:saltSize], i), body[o+k:o+k+int(n)]))
	}
	return t.root()
}
