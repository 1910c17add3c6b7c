package ntfs

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/fs"
)

const lzntChunk = 4096

// lznt1 uncompresses the stored bytes of one compression unit into out, which is
// zeroed. Data that ends early leaves zeros ([MS-XCA] 2.5).
func lznt1(b, out []byte) error {
	for at := 0; at < len(out) && len(b) >= 2; at += lzntChunk {
		h := le.Uint16(b)
		if h == 0 {
			return nil
		}
		n := int(h&0xfff) + 1
		b = b[2:]
		if n > len(b) {
			return fmt.Errorf("lznt1: chunk of %d bytes where %d are left: %w", n, len(b), fs.ErrCorrupt)
		}
		dst := out[at:min(at+lzntChunk, len(out))]
		if h&0x8000 == 0 {
			copy(dst, b[:n])
		} else if err := lzntOne(b[:n], dst); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// lzntOne uncompresses one chunk: groups of a flag byte and eight tokens, each a
// literal or a pair of distance and length whose widths depend on the position.
func lzntOne(b, out []byte) error {
	n := 0
	for len(b) > 0 {
		flags := b[0]
		b = b[1:]
		for k := 0; k < 8 && len(b) > 0; k++ {
			if flags>>k&1 == 0 {
				if n >= len(out) {
					return fmt.Errorf("lznt1: chunk is too long: %w", fs.ErrCorrupt)
				}
				out[n] = b[0]
				n, b = n+1, b[1:]
				continue
			}
			if len(b) < 2 || n == 0 {
				return fmt.Errorf("lznt1: pair at %d: %w", n, fs.ErrCorrupt)
			}
			t := int(le.Uint16(b))
			b = b[2:]
			shift := 0
			for i := n - 1; i >= 0x10; i >>= 1 {
				shift++
			}
			l, back := t&(0xfff>>shift)+3, t>>(12-shift)+1
			if back > n || l > len(out)-n {
				return fmt.Errorf("lznt1: %d bytes from %d back at %d: %w", l, back, n, fs.ErrCorrupt)
			}
			for ; l > 0; l-- {
				out[n] = out[n-back]
				n++
			}
		}
	}
	return nil
}
