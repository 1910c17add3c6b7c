package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// pageKey names a page's content. It is SHA-256 of the tape's secret and of the
// page's SHA-256, cut to 128 bits, and lives in memory only: a guest cannot make
// two pages of one key, and who finds the table in dom0 cannot test guesses.
type pageKey [16]byte

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

func (s *pageStore) key(page []byte) (k pageKey) {
	var b [64]byte
	copy(b[:], s.secret[:])
	h := sha256.Sum256(page)
	copy(b[32:], h[:])
	h = sha256.Sum256(b[:])
	copy(k[:], h[:])
	return k
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

func isZero(page []byte) bool {
	// Most pages that are not zero differ early; test a word before the call.
	return binary.LittleEndian.Uint64(page) == 0 && bytes.Equal(page, zeroPage[:])
}

// versionCache keeps the last content of pages, by stream and number, so that a
// changed page can be stored as its difference. It is bounded; when it is full
// the version unused for longest goes (two generations).
type versionCache struct {
	limit      int // pages in each generation
	young, old map[versionKey]*version
	free       []*version
}

type versionKey struct {
	stream StreamID
	page   uint64
}

type version struct {
	loc  pageLoc
	data [PageSize]byte
}

func newVersionCache(size int64) *versionCache {
	c := &versionCache{young: map[versionKey]*version{}}
	if size > 0 {
		c.limit = int(size / 2 / (PageSize + 64))
	}
	return c
}

func (c *versionCache) get(k versionKey) *version {
	if v := c.young[k]; v != nil {
		return v
	}
	return c.old[k]
}

func (c *versionCache) put(k versionKey, page []byte, loc pageLoc) {
	if c.limit == 0 {
		return
	}
	if v := c.young[k]; v != nil {
		v.loc = loc
		copy(v.data[:], page)
		return
	}
	if len(c.young) >= c.limit {
		for _, v := range c.old {
			c.free = append(c.free, v)
		}
		clear(c.old)
		c.old, c.young = c.young, c.old
		if c.young == nil {
			c.young = make(map[versionKey]*version)
		}
	}
	v := c.old[k]
	if n := len(c.free); v != nil {
		delete(c.old, k)
	} else if n > 0 {
		v, c.free = c.free[n-1], c.free[:n-1]
	} else {
		v = &version{}
	}
	v.loc = loc
	copy(v.data[:], page)
	c.young[k] = v
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

// appendDifference appends a XOR b.
func appendDifference(dst, a, b []byte) []byte {
	for i := 0; i < PageSize; i += 8 {
		dst = binary.LittleEndian.AppendUint64(dst, binary.LittleEndian.Uint64(a[i:])^binary.LittleEndian.Uint64(b[i:]))
	}
	return dst
}
