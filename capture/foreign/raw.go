package foreign

import (
	"io"

	"github.com/xentape/xentape/format"
)

// openRaw takes the file as physical memory from address 0: QEMU's pmemsave, dd
// of /dev/mem, VMware .vmem, LibVMI's dump-memory.
func openRaw(m *MemoryImage, _ io.ReaderAt, size int64) error {
	m.Format = FormatRawMemory
	if size%format.PageSize != 0 {
		m.warn("%d bytes is not a multiple of %d: the last page is padded with zeros", size, format.PageSize)
	}
	return m.pages.addBytes(0, 0, uint64(size))
}
