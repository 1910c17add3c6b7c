package btrfs

import (
	"fmt"
	"sort"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// Profiles and kinds of a chunk (BTRFS_BLOCK_GROUP_*).
const (
	groupData = 1 << 0
	// Profiles under which one device does not hold the bytes in a row.
	groupStriped = 1<<3 | 1<<6 | 1<<7 | 1<<8 // RAID0, RAID10, RAID5, RAID6

	maxChunks = 1 << 20
)

// chunk maps a run of logical addresses to its copies on this device.
type chunk struct {
	start, length uint64
	kind          uint64
	copies        []uint64 // offsets on this device; none when it holds no copy
}

// chunkMap translates logical addresses. Chunks are kept sorted and disjoint.
type chunkMap struct{ list []chunk }

// parseChunk decodes a chunk item whose key offset is start.
func parseChunk(start uint64, b []byte, devid uint64) (chunk, int, error) {
	if len(b) < 80 {
		return chunk{}, 0, fmt.Errorf("chunk item of %d bytes: %w", len(b), fs.ErrCorrupt)
	}
	c := chunk{start: start, length: le.Uint64(b), kind: le.Uint64(b[24:])}
	n := int(le.Uint16(b[44:]))
	size := 48 + 32*n
	if n == 0 || size > len(b) || c.length == 0 || start+c.length < start {
		return c, 0, fmt.Errorf("chunk %d: %d stripes, %d bytes: %w", start, n, c.length, fs.ErrCorrupt)
	}
	if c.kind&groupStriped != 0 {
		return c, size, nil
	}
	for k := 0; k < n; k++ {
		s := b[48+32*k:]
		if off := le.Uint64(s[8:]); le.Uint64(s) == devid && off+c.length > off {
			c.copies = append(c.copies, off)
		}
	}
	return c, size, nil
}

// add inserts c, replacing an older chunk at the same address.
func (m *chunkMap) add(c chunk) error {
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].start >= c.start })
	if i < len(m.list) && m.list[i].start == c.start {
		m.list[i] = c
		return nil
	}
	if i > 0 && m.list[i-1].start+m.list[i-1].length > c.start || i < len(m.list) && c.start+c.length > m.list[i].start {
		return fmt.Errorf("chunk %d overlaps another: %w", c.start, fs.ErrCorrupt)
	}
	if len(m.list) >= maxChunks {
		return fmt.Errorf("more than %d chunks: %w", maxChunks, fs.ErrCorrupt)
	}
	m.list = append(m.list, chunk{})
	copy(m.list[i+1:], m.list[i:])
	m.list[i] = c
	return nil
}

// find returns the chunk that holds logical address addr.
func (m *chunkMap) find(addr uint64) (chunk, bool) {
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].start > addr }) - 1
	if i < 0 || addr-m.list[i].start >= m.list[i].length {
		return chunk{}, false
	}
	return m.list[i], true
}

// copies lists where n bytes at addr stand on this device.
func (m *chunkMap) copies(addr, n uint64) ([]uint64, error) {
	c, ok := m.find(addr)
	if !ok || n > c.start+c.length-addr {
		return nil, fmt.Errorf("logical address %d+%d is in no chunk: %w", addr, n, fs.ErrCorrupt)
	}
	if len(c.copies) == 0 {
		return nil, fmt.Errorf("logical address %d: profile %#x is not on this device in one piece: %w", addr, c.kind, fs.ErrUnsupported)
	}
	out := make([]uint64, len(c.copies))
	for k, off := range c.copies {
		out[k] = off + addr - c.start
	}
	return out, nil
}

// physicalData reports whether [off, off+n) of the device touches a chunk that
// may hold file data.
func (m *chunkMap) physicalData(off, n uint64) bool {
	for _, c := range m.list {
		if c.kind&groupData == 0 {
			continue
		}
		for _, p := range c.copies {
			if off < p+c.length && p < off+n {
				return true
			}
		}
	}
	return false
}

// sysChunks reads the array in the superblock that makes the chunk tree readable.
func (m *chunkMap) sysChunks(b []byte, devid uint64) error {
	for len(b) > 0 {
		if len(b) < keySize {
			return fmt.Errorf("system chunk array ends inside a key: %w", fs.ErrCorrupt)
		}
		k := parseKey(b)
		if k.typ != typeChunk {
			return fmt.Errorf("system chunk array: key type %d: %w", k.typ, fs.ErrCorrupt)
		}
		c, n, err := parseChunk(k.off, b[keySize:], devid)
		if err != nil {
			return fmt.Errorf("system chunk array: %w", err)
		}
		if err := m.add(c); err != nil {
			return fmt.Errorf("system chunk array: %w", err)
		}
		b = b[keySize+n:]
	}
	return nil
}
