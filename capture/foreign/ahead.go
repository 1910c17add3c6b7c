package foreign

import (
	"io"
	"sync"
)

// aheadSize is how much is read at once where reads follow one another, in bytes.
const aheadSize = 256 << 10

// ahead reads a file in larger pieces while it is read from front to back: a search
// through memory asks for page after page, and each would be a system call. Other
// reads go through.
type ahead struct {
	r io.ReaderAt

	mu   sync.Mutex
	next int64 // where the last read ended
	off  int64 // of buf in the file
	buf  []byte
}

// ReadAt implements io.ReaderAt.
func (a *ahead) ReadAt(p []byte, off int64) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	follows := off == a.next
	a.next = off + int64(len(p))
	if a.copy(p, off) {
		return len(p), nil
	}
	if !follows || len(p) >= aheadSize {
		return a.r.ReadAt(p, off)
	}
	if a.buf == nil {
		a.buf = make([]byte, 0, aheadSize)
	}
	n, err := a.r.ReadAt(a.buf[:aheadSize], off)
	a.off, a.buf = off, a.buf[:n]
	if a.copy(p, off) {
		return len(p), nil
	}
	if err == nil {
		err = io.ErrNoProgress // it gave less than was asked for, and no reason
	}
	return copy(p, a.buf), err
}

// copy fills p from what is in hand.
func (a *ahead) copy(p []byte, off int64) bool {
	at := off - a.off
	if at < 0 || at+int64(len(p)) > int64(len(a.buf)) {
		return false
	}
	copy(p, a.buf[at:])
	return true
}
