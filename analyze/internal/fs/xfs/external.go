package xfs

import (
	"errors"
	"io"

	"github.com/xentape/xentape/analyze/internal/fs"
)

// IsLog reports whether dev is the external log of the filesystem with that UUID. Such a
// device has no superblock: it begins with the log's first block, and what tells whose it
// is are the headers of its records. One begins at most the longest record after the
// start, where the one before it goes around the end.
func IsLog(dev fs.Device, uuid [16]byte) bool {
	n := min(dev.Size(), 2*maxRecord) / basicBlock * basicBlock
	b := make([]byte, n)
	if _, err := dev.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) && !fs.IsUnknown(err) {
		return false
	}
	l := &logRing{blocks: uint32(min(dev.Size()/basicBlock, 1<<32-1)), uuid: uuid}
	for at := uint64(0); at+logHeaderSize <= n; at += basicBlock {
		if h, ok := l.parseHeader(b[at:]); ok && uint64(h.lsn.block()) == at/basicBlock {
			return true
		}
	}
	return false
}
