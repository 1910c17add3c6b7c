package memory

import (
	"context"
	"errors"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/format"
)

// batchFrames is how many frames are mapped at once. More does not go faster, and
// a mapping keeps a dying domain from going away.
const batchFrames = 1024

// reader reads pages of one guest in batches.
type reader struct {
	x      *hypercall.Xen
	domain uint16
	frames []uint64
	page   [format.PageSize]byte
}

// visitor is given each page read: data is valid during the call and nil when the
// page could not be read, err says why.
type visitor func(page uint64, data []byte, err error) error

// errStop ends a reading early without being an error.
var errStop = errors.New("stop reading")

// read reads the pages of a set, ascending. between is asked before each batch
// and may end the reading with errStop, which read returns.
func (r *reader) read(ctx context.Context, l *layout, set bitset, between func() error, visit visitor) error {
	pages := make([]uint64, 0, batchFrames)
	var failed error
	flush := func() bool {
		failed = ctx.Err()
		if failed == nil && between != nil {
			failed = between()
		}
		if failed == nil {
			failed = r.batch(l, pages, visit)
		}
		pages = pages[:0]
		return failed == nil
	}
	set.all(func(n uint64) bool {
		if n >= l.pages || l.p2m != nil && !l.present.has(n) {
			return true
		}
		pages = append(pages, n)
		return len(pages) < batchFrames || flush()
	})
	if failed == nil && len(pages) > 0 {
		flush()
	}
	return failed
}

func (r *reader) batch(l *layout, pages []uint64, visit visitor) error {
	r.frames = r.frames[:0]
	for _, n := range pages {
		r.frames = append(r.frames, l.frame(n))
	}
	m, err := r.x.Port().Map(r.domain, r.frames)
	if err != nil {
		return err
	}
	for i, n := range pages {
		data := r.page[:]
		bad := m.Copy(i, data)
		if bad != nil {
			data = nil
		}
		if err = visit(n, data, bad); err != nil {
			break
		}
	}
	return errors.Join(err, m.Unmap())
}
