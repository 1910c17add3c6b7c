package foreign

import (
	"errors"
	"io"
)

// windowSize is the buffer of a packet reader and so the largest packet it
// reads, in bytes: 16 times what an IP packet can have.
const windowSize = 1 << 20

// window is a buffered reader that hands out slices of its buffer instead of
// copies. A slice holds until the next call of need.
type window struct {
	r          io.Reader
	buf        []byte
	start, end int
	off        int64 // file offset of buf[start]
	err        error // what ended the input; io.EOF at a clean end
}

func newWindow(r io.Reader) *window {
	return &window{r: r, buf: make([]byte, windowSize)}
}

// need returns the next n bytes without moving past them; fewer at the end of
// the input. n must not exceed windowSize.
func (w *window) need(n int) []byte {
	if w.end-w.start < n {
		w.fill(n)
	}
	return w.buf[w.start:min(w.start+n, w.end)]
}

// skip moves past n bytes that need has returned.
func (w *window) skip(n int) {
	w.start += n
	w.off += int64(n)
}

func (w *window) fill(n int) {
	w.end = copy(w.buf, w.buf[w.start:w.end])
	w.start = 0
	for idle := 0; w.end < n && w.err == nil; {
		k, err := w.r.Read(w.buf[w.end:])
		w.end += k
		w.err = err
		if k > 0 {
			idle = 0
		} else if idle++; err == nil && idle > 100 {
			w.err = io.ErrNoProgress
		}
	}
}

// discard moves past n bytes of any number; it reports whether all were there.
func (w *window) discard(n int64) bool {
	for n > 0 {
		b := w.need(int(min(n, windowSize)))
		if len(b) == 0 {
			return false
		}
		w.skip(len(b))
		n -= int64(len(b))
	}
	return true
}

// ending is why the input ended, nil for a clean end.
func (w *window) ending() error {
	if errors.Is(w.err, io.EOF) {
		return nil
	}
	return w.err
}
