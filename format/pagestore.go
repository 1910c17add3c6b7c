package format

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"slices"
)

// pageKey names a page's content. It is SHA-256 of the tape's secret and of the
// page's SHA-256, cut to 128 bits, and lives in memory only: a guest cannot make
// two pages of one key, and who finds the table in dom0 cannot test guesses.
type pageKey [16]byte

// pageHash is what is to be known of a page to store it.
type pageHash struct {
	key    pageKey
	digest [sha256.Size]byte // of the content, which its chunk commits itself to
	zero   bool              // the page is all zeros; key and digest are not set
}

// pageStore remembers what is on the tape, over all snapshots and streams.
type pageStore struct {
	secret   [32]byte
	limit    int
	young    map[pageKey]pageLoc // of at most limit/2; then it becomes old
	old      map[pageKey]pageLoc
	versions *versionCache
	lastPack uint32
	open     []*SnapshotWriter        // in the order of their beginning
	latest   map[StreamID]*snapshotAt // the last ended snapshot of each stream
}

// snapshotAt is an ended snapshot as the next one's parent.
type snapshotAt struct {
	id    uint32
	pages pageMap // resolved
	depth int     // snapshots since the last that states everything
}

func newPageStore(secret [32]byte, limit int, versions int64) *pageStore {
	return &pageStore{
		secret: secret, limit: limit, young: map[pageKey]pageLoc{}, latest: map[StreamID]*snapshotAt{},
		versions: newVersionCache(versions),
	}
}

// hash looks at a page.
func (s *pageStore) hash(page []byte) (p pageHash) {
	if p.zero = IsZero(page); p.zero {
		return p
	}
	var b [64]byte
	copy(b[:], s.secret[:])
	p.digest = sha256.Sum256(page)
	copy(b[32:], p.digest[:])
	h := sha256.Sum256(b[:])
	copy(p.key[:], h[:])
	return p
}

func (s *pageStore) lookup(k pageKey) (pageLoc, bool) {
	if l, ok := s.young[k]; ok {
		return l, true
	}
	l, ok := s.old[k]
	if ok {
		s.remember(k, l)
	}
	return l, ok
}

func (s *pageStore) remember(k pageKey, l pageLoc) {
	if len(s.young) >= s.limit/2+1 {
		s.old, s.young = s.young, make(map[pageKey]pageLoc)
	}
	s.young[k] = l
}

func (s *pageStore) cutAll(w *Writer) {
	for _, o := range s.open {
		o.cut()
	}
}

var zeroPage [PageSize]byte

// IsZero reports whether a page, of PageSize bytes, is all zeros.
func IsZero(page []byte) bool {
	// Most pages that are not zero differ early; test a word before the call.
	return binary.LittleEndian.Uint64(page) == 0 && bytes.Equal(page, zeroPage[:])
}

// differs counts the 64-bit words in which two pages differ.
func differs(a, b []byte) int {
	n := 0
	for i := 0; i < PageSize; i += 8 {
		x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
		n += (bits.Len64(x) + 63) / 64
	}
	return n
}

// appendDifference appends a XOR b, which are pages.
func appendDifference(dst, a, b []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, PageSize)[:n+PageSize]
	subtle.XORBytes(dst[n:], a, b)
	return dst
}
