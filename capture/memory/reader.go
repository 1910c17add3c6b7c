package memory

import (
	"context"
	"errors"
	"runtime"
	"sync"

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
	// known says whether a page, which may change meanwhile, is as it was when it was
	// last read; it is called from several goroutines. nil: no page is.
	known     func(page uint64, frame []byte) bool
	unchanged uint64 // pages that were known

	frames []uint64
	room   []byte // a batch of pages
	got    []seen // of each
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

// batch maps some pages, has each looked at, and visits those that are not known.
func (r *reader) batch(l *layout, pages []uint64, visit visitor) error {
	r.frames = r.frames[:0]
	for _, n := range pages {
		r.frames = append(r.frames, l.frame(n))
	}
	m, err := r.x.Port().Map(r.domain, r.frames)
	if err != nil {
		return err
	}
	r.look(m, pages)
	err = m.Unmap()
	for i, n := range pages {
		if err != nil {
			return err
		}
		switch got := &r.got[i]; {
		case got.known:
			r.unchanged++
		case got.err != nil:
			err = visit(n, nil, got.err)
		default:
			err = visit(n, r.room[i*format.PageSize:(i+1)*format.PageSize], nil)
		}
	}
	return err
}

// seen is what looking at a page gave.
type seen struct {
	known bool
	err   error
}

// lookers bounds how many CPUs look at pages at once.
const lookers = 4

// look compares each page with what is known of it, where it is mapped, and copies
// those that differ, on as many CPUs as there are: most pages do not change, and the
// guest may be waiting.
func (r *reader) look(m *hypercall.Mapping, pages []uint64) {
	if r.room == nil {
		r.room, r.got = make([]byte, batchFrames*format.PageSize), make([]seen, batchFrames)
	}
	parts := min(lookers, runtime.GOMAXPROCS(0))
	size := (len(pages) + parts - 1) / parts
	var wg sync.WaitGroup
	for from := 0; from < len(pages); from += size {
		to := min(from+size, len(pages))
		wg.Go(func() {
			for i := from; i < to; i++ {
				known := false
				err := m.Look(i, func(frame []byte) {
					if known = r.known != nil && r.known(pages[i], frame); !known {
						copy(r.room[i*format.PageSize:(i+1)*format.PageSize], frame)
					}
				})
				r.got[i] = seen{known, err}
			}
		})
	}
	wg.Wait()
}
