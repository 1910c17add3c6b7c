package foreign

import (
	"encoding/binary"
	"fmt"
	"io"
)

// LiME: doc/README.md in github.com/504ensicsLabs/LiME, "lime_mem_range_header".
// 32 bytes, then the range itself; AVML version 1 writes the same.
const (
	limeMagic      = "EMiL" // 0x4C694D45 little-endian
	limeHeaderSize = 32
	limeVersion    = 1
)

func openLiME(m *MemoryImage, r io.ReaderAt, size int64) error {
	m.Format = FormatLiME
	h := make([]byte, limeHeaderSize)
	ranges := 0
	for off := int64(0); off < size; ranges++ {
		if size-off < limeHeaderSize {
			m.warn("%d bytes after the last range", size-off)
			break
		}
		if err := readFullAt(r, h, off); err != nil {
			return fmt.Errorf("lime range %d: %w", ranges, err)
		}
		le := binary.LittleEndian
		version, first, last := le.Uint32(h[4:]), le.Uint64(h[8:]), le.Uint64(h[16:])
		if string(h[:4]) != limeMagic || version != limeVersion || last < first || last-first == ^uint64(0) {
			err := fmt.Errorf("lime range %d at %#x: magic %q, version %d, addresses %#x to %#x",
				ranges, off, h[:4], version, first, last)
			if ranges == 0 {
				return err
			}
			m.warn("%v: what follows is not read", err)
			break
		}
		length := last - first + 1 // the last address is inclusive
		off += limeHeaderSize
		if err := m.pages.addBytes(first, off, length); err != nil {
			return fmt.Errorf("lime range %d: %w", ranges, err)
		}
		if length > uint64(size-off) {
			break // finish reports the missing pages
		}
		off += int64(length)
	}
	return nil
}
