package rebuild

import (
	"fmt"
	"io"

	"github.com/xentape/xentape/format"
)

// File is what is written to; *os.File is one. Holes are not written,
// so that a sparse file stays sparse.
type File interface {
	io.WriterAt
	Truncate(size int64) error
}

// DiskFile is what a disk is put together in.
type DiskFile interface {
	File
	io.ReaderAt
}

// CopyPages writes the pages of one extent at off. Zero pages are left as holes.
// It returns how many pages could not be had; they are holes too.
func CopyPages(f File, off int64, im format.Image, e format.Extent) (missing uint64, err error) {
	buf := make([]byte, 0, copyBatch)
	page := make([]byte, format.PageSize)
	at := off
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		_, err := f.WriteAt(buf, at)
		at += int64(len(buf))
		buf = buf[:0]
		return err
	}
	for n := e.Start; n < e.Start+e.Count; n++ {
		st, rerr := im.ReadPage(n, page)
		if st == format.PageData {
			if buf = append(buf, page...); len(buf) == copyBatch {
				if err := flush(); err != nil {
					return missing, err
				}
			}
			continue
		}
		if rerr != nil || st != format.PageZero {
			missing++
		}
		if err := flush(); err != nil {
			return missing, err
		}
		at = off + int64(n-e.Start+1)*format.PageSize
	}
	return missing, flush()
}

const copyBatch = 1 << 20

// MissingLoss words the loss of pages that should have been there.
func MissingLoss(missing uint64, what string) []string {
	if missing == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d pages of %s are not on the tape or damaged: written as zeros", missing, what)}
}
