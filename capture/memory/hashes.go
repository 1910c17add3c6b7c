package memory

import "hash/maphash"

// hashes remember what each page held. The seed is drawn at random for each
// recording and nothing of the hashes leaves the recorder: a guest cannot aim at a
// collision, and by chance one page in 2^64 changes is missed.
type hashes struct {
	seed maphash.Seed
	sums []uint64 // by page; 0: not known
	zero uint64   // of a page of zeros
}

func newHashes() *hashes {
	h := &hashes{seed: maphash.MakeSeed()}
	h.zero = h.sum(zeros[:])
	return h
}

// grow makes room for pages below n.
func (h *hashes) grow(n uint64) {
	if n > uint64(len(h.sums)) {
		h.sums = append(h.sums, make([]uint64, n-uint64(len(h.sums)))...)
	}
}

// forget drops everything.
func (h *hashes) forget() { clear(h.sums) }

func (h *hashes) sum(data []byte) uint64 {
	return max(1, maphash.Bytes(h.seed, data))
}

// same says whether a page holds what it held. It may be called from several
// goroutines while nothing is set.
func (h *hashes) same(page uint64, data []byte) bool {
	return !h.is(page, 0) && h.is(page, h.sum(data))
}

// is says whether a page held what has that sum; 0: whether it is not known.
func (h *hashes) is(page, sum uint64) bool {
	if page >= uint64(len(h.sums)) {
		return sum == 0
	}
	return h.sums[page] == sum
}

// set notes a page's content, by its sum, and says whether it differs from what it was.
func (h *hashes) set(page, sum uint64) (changed bool) {
	if h.sums[page] == sum {
		return false
	}
	h.sums[page] = sum
	return true
}

// drop notes that a page is not there and says whether it was.
func (h *hashes) drop(page uint64) (was bool) {
	was = h.sums[page] != 0
	h.sums[page] = 0
	return was
}
