package format

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
)

// The Merkle log is RFC 6962 §2.1 over chunks in the order of their numbers.
// A leaf's input is the chunk's header and meta followed by the SHA-256 of its
// stored body and padding, so that a proof about the meta need not disclose
// the body.

func leafHash(input []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(input)
	var out [32]byte
	h.Sum(out[:0])
	return out
}

func nodeHash(l, r [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[33:], r[:])
	return sha256.Sum256(b[:])
}

// chunkLeaf hashes a whole stored chunk; head is header and meta, body the rest.
func chunkLeaf(head, body []byte) [32]byte {
	s := sha256.Sum256(body)
	in := make([]byte, 0, len(head)+32)
	return leafHash(append(append(in, head...), s[:]...))
}

// emptyRoot is the root of a log without leaves: SHA-256 of nothing.
var emptyRoot = sha256.Sum256(nil)

// tree is a growing Merkle log that keeps only the roots of its full subtrees.
type tree struct {
	size  uint64
	stack [][32]byte // roots of the full subtrees of size's binary digits, largest first
}

func (t *tree) add(leaf [32]byte) {
	t.stack = append(t.stack, leaf)
	for n := t.size; n&1 == 1; n >>= 1 {
		k := len(t.stack)
		t.stack[k-2] = nodeHash(t.stack[k-2], t.stack[k-1])
		t.stack = t.stack[:k-1]
	}
	t.size++
}

func (t *tree) root() [32]byte {
	if t.size == 0 {
		return emptyRoot
	}
	r := t.stack[len(t.stack)-1]
	for i := len(t.stack) - 2; i >= 0; i-- {
		r = nodeHash(t.stack[i], r)
	}
	return r
}

// treeRoot is the root over leaves.
func treeRoot(leaves [][32]byte) [32]byte {
	var t tree
	for _, l := range leaves {
		t.add(l)
	}
	return t.root()
}

// inclusionProof is RFC 6962 §2.1.1: the path from leaf index to the root.
func inclusionProof(leaves [][32]byte, index int) [][32]byte {
	if len(leaves) <= 1 {
		return nil
	}
	k := splitPoint(len(leaves))
	if index < k {
		return append(inclusionProof(leaves[:k], index), treeRoot(leaves[k:]))
	}
	return append(inclusionProof(leaves[k:], index-k), treeRoot(leaves[:k]))
}

// splitPoint is the largest power of two smaller than n.
func splitPoint(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// rootFromProof computes the root that a leaf and its path lead to.
func rootFromProof(leaf [32]byte, index, size uint64, path [][32]byte) ([32]byte, error) {
	if index >= size {
		return leaf, fmt.Errorf("leaf %d of %d", index, size)
	}
	fn, sn, r := index, size-1, leaf
	for i, p := range path {
		if sn == 0 {
			return r, fmt.Errorf("path of %d hashes: only %d are needed", len(path), i)
		}
		if fn&1 == 1 || fn == sn {
			r = nodeHash(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = nodeHash(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return r, fmt.Errorf("path of %d hashes: too short", len(path))
	}
	return r, nil
}
