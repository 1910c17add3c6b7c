package foreign

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/xentape/xentape/format"
)

// makedumpfile's flattened format, which QEMU before 8.2 always writes for kdump:
// a header of one page, then pieces of the real file, each after its offset and
// length, both big-endian (IMPLEMENTATION in makedumpfile, "flattened format").
const (
	flattenedSignature = "makedumpfile\x00\x00\x00\x00"
	flattenedHeader    = 4096
	flattenedPiece     = 16
)

// flattened is the real file put together. Bytes no piece gives read as zeros, as
// in the sparse file makedumpfile -R makes.
type flattened struct {
	r      io.ReaderAt
	pieces pageMap // in units of bytes
}

func openFlattened(m *MemoryImage, r io.ReaderAt, size int64) error {
	f := &flattened{r: r, pieces: pageMap{r: r, size: size, stride: 1}}
	head := make([]byte, flattenedPiece)
	off := int64(flattenedHeader)
	for {
		if err := readFullAt(r, head, off); err != nil {
			m.warn("the file is truncated: %v", err)
			break
		}
		at, n := int64(binary.BigEndian.Uint64(head)), int64(binary.BigEndian.Uint64(head[8:]))
		if at == -1 && n == -1 {
			break
		}
		off += flattenedPiece
		if at < 0 || n <= 0 {
			return fmt.Errorf("flattened piece at %#x: offset %d, %d bytes", off, at, n)
		}
		have := min(n, size-off)
		if err := f.pieces.add(run{uint64(at), uint64(have), off, format.PageData}); err != nil {
			return fmt.Errorf("flattened piece at %#x: %w", off, err)
		}
		if have < n {
			m.warn("the file is truncated: %d bytes of the last piece are missing", n-have)
			break
		}
		off += n
	}
	f.pieces.runs = resolve(f.pieces.runs, 1)
	whole := int64(f.pieces.limit())
	head = make([]byte, len(kdumpSignature))
	if n, err := f.ReadAt(head, 0); n < len(head) || string(head) != kdumpSignature {
		return fmt.Errorf("flattened file starts with %q, want %q: %w", head, kdumpSignature, err)
	}
	m.pages.r, m.pages.size = f, whole
	return openKdump(m, f, whole)
}

// ReadAt implements io.ReaderAt on the real file.
func (f *flattened) ReadAt(b []byte, off int64) (int, error) {
	end := int64(f.pieces.limit())
	if off < 0 || off >= end {
		return 0, io.EOF
	}
	want := int(min(int64(len(b)), end-off))
	for n := 0; n < want; {
		at := uint64(off) + uint64(n)
		p, ok := f.pieces.find(at)
		if !ok {
			b[n] = 0
			n++
			continue
		}
		k := int(min(uint64(want-n), p.end()-at))
		if err := readFullAt(f.r, b[n:n+k], p.off+int64(at-p.page)); err != nil {
			return n, err
		}
		n += k
	}
	if want < len(b) {
		return want, io.EOF
	}
	return want, nil
}
