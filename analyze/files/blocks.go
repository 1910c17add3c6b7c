package files

import (
	"crypto/sha256"
	"errors"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// BlockSize is the unit of Event.Blocks, in bytes.
const BlockSize = 4096

// maxBlocks bounds the blocks hashed for one event: 256 MiB of content.
const maxBlocks = 65536

// Block is one block of a file as it was after an event.
type Block struct {
	Off uint64   // in the file, a multiple of BlockSize
	Sum [32]byte // SHA-256; the last block of a file is filled up with zeros
}

// blocks hashes the blocks that ranges touch. Blocks that hold one byte value
// throughout are left out: they are alike in every file. So are those that
// cannot be read.
func (v *volumeState) blocks(id fs.ID, ranges []fs.Range, size uint64) []Block {
	content, err := v.fs.Content(id)
	if err != nil {
		return nil
	}
	var out []Block
	var buf [BlockSize]byte
	next := uint64(0)
	for _, r := range ranges {
		end := min(r.Off+r.Len, size)
		for off := max(r.Off/BlockSize*BlockSize, next); off < end && len(out) < maxBlocks; off += BlockSize {
			n := int(min(BlockSize, size-off))
			clear(buf[n:])
			if _, err := content.ReadAt(buf[:n], int64(off)); err != nil && !errors.Is(err, io.EOF) {
				continue
			}
			if !uniform(buf[:n]) {
				out = append(out, Block{off, sha256.Sum256(buf[:])})
			}
			next = off + BlockSize
		}
	}
	return out
}

func uniform(b []byte) bool {
	for _, c := range b[1:] {
		if c != b[0] {
			return false
		}
	}
	return true
}
