package btrfs

import (
	"bytes"
	"crypto/sha256"
	"hash/crc32"
	"math/bits"

	"golang.org/x/crypto/blake2b"
)

// csumType is the checksum of metadata and data (enum btrfs_csum_type).
type csumType uint16

const (
	csumCRC32C csumType = iota
	csumXXHash
	csumSHA256
	csumBlake2
)

const csumArea = 32 // bytes in front of every block that the checksum may fill

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c csumType) known() bool { return c <= csumBlake2 }

func (c csumType) String() string {
	return [...]string{"crc32c", "xxhash64", "sha256", "blake2"}[c&3]
}

// ok checks a block whose checksum stands in its first 32 bytes and covers the rest.
func (c csumType) ok(b []byte) bool {
	body := b[csumArea:]
	switch c {
	case csumCRC32C:
		return crc32.Checksum(body, castagnoli) == le.Uint32(b)
	case csumXXHash:
		return xxh64(body) == le.Uint64(b)
	case csumSHA256:
		s := sha256.Sum256(body)
		return bytes.Equal(s[:], b[:csumArea])
	case csumBlake2:
		s := blake2b.Sum256(body)
		return bytes.Equal(s[:], b[:csumArea])
	}
	return false
}

// The primes of XXH64 (xxHash specification 0.1.1).
const (
	xxPrime1 uint64 = 0x9E3779B185EBCA87
	xxPrime2 uint64 = 0xC2B2AE3D27D4EB4F
	xxPrime3 uint64 = 0x165667B19E3779F9
	xxPrime4 uint64 = 0x85EBCA77C2B2AE63
	xxPrime5 uint64 = 0x27D4EB2F165667C5
)

func xxRound(acc, in uint64) uint64 {
	return bits.RotateLeft64(acc+in*xxPrime2, 31) * xxPrime1
}

func xxMerge(acc, v uint64) uint64 {
	return (acc^xxRound(0, v))*xxPrime1 + xxPrime4
}

// xxh64 is XXH64 with seed 0.
func xxh64(b []byte) uint64 {
	n := uint64(len(b))
	h := xxPrime5
	if len(b) >= 32 {
		p1 := xxPrime1
		v1, v2, v3, v4 := p1+xxPrime2, xxPrime2, uint64(0), -p1
		for ; len(b) >= 32; b = b[32:] {
			v1 = xxRound(v1, le.Uint64(b))
			v2 = xxRound(v2, le.Uint64(b[8:]))
			v3 = xxRound(v3, le.Uint64(b[16:]))
			v4 = xxRound(v4, le.Uint64(b[24:]))
		}
		h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
		h = xxMerge(xxMerge(xxMerge(xxMerge(h, v1), v2), v3), v4)
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^xxRound(0, le.Uint64(b)), 27)*xxPrime1 + xxPrime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(le.Uint32(b))*xxPrime1, 23)*xxPrime2 + xxPrime3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*xxPrime5, 11) * xxPrime1
	}
	h = (h ^ h>>33) * xxPrime2
	h = (h ^ h>>29) * xxPrime3
	return h ^ h>>32
}
