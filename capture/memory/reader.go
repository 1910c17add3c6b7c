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

// lingering bounds what stays mapped after it was looked at, in frames: 256 MiB.
const lingering = 1 << 16

// reader reads pages of one guest in batches: while one is looked at, the next is
// mapped.
type reader struct {
	x      *hypercall.Xen
	domain uint16
	// known is what each page held when it was last read: pages that still hold it are
	// counted and not visited. nil: all are visited.
	known     *hashes
	unchanged uint64 // pages that were as known
	// over, if there is one, is called when the pages of a batch were visited, and may
	// take as long as the next ones are looked at.
	over    func() error
	working chan error // what over will say; nil: it is not at work

	keep   int                  // frames that may stay mapped after they were looked at
	linger []*hypercall.Mapping // those, oldest first
	frames int                  // of these
	room   [2][]byte            // batches of pages: over may be at work on the one before
	got    []page               // of each page of a batch
}

// mayLinger says how much a reader may leave mapped until there is time. Unmapping costs
// a PV dom0, whose page tables Xen guards, twice what mapping does, and the guest may be
// waiting. Any other dom0 gives memory of its own to what it maps
// (xen_alloc_unpopulated_pages in drivers/xen/unpopulated-alloc.c), and is asked for
// little.
func mayLinger(x *hypercall.Xen) int {
	if dom0, err := x.DomainInfo(0); err != nil || dom0.HVM() {
		return 0
	}
	return lingering
}

// page is what looking at one gave. Its data is the visitor's, until over has ended.
type page struct {
	data  []byte // nil when it could not be read
	sum   uint64 // of data, as hashes have it; with reader.known only
	zero  bool   // data is all zeros
	known bool   // data is nil because it is as known
	err   error  // why it could not be read
}

// visitor is given each page read.
type visitor func(n uint64, p *page) error

// errStop ends a reading early without being an error.
var errStop = errors.New("stop reading")

// batch is some pages, mapped.
type batch struct {
	pages  []uint64
	frames []uint64
	m      *hypercall.Mapping
	err    error
}

// read reads the pages of a set, ascending. between is asked before each batch
// and may end the reading with errStop, which read returns.
func (r *reader) read(ctx context.Context, l *layout, set bitset, between func() error, visit visitor) error {
	var spare [2]batch
	turn := 0
	var failed error
	var mapping chan *batch // nil: none is being mapped
	mapped := func() *batch {
		if mapping == nil {
			return nil
		}
		b := <-mapping
		mapping = nil
		return b
	}
	use := func(b *batch) {
		if b == nil {
			return
		}
		if failed == nil {
			failed = b.err
		}
		if failed == nil {
			failed = r.visit(b, visit)
		}
		if b.err == nil {
			r.frames += b.m.Len()
			r.linger = append(r.linger, b.m)
		}
	}
	flush := func(b *batch) bool {
		if failed = ctx.Err(); failed == nil && between != nil {
			failed = between()
		}
		if failed != nil {
			return false
		}
		before, over := mapped(), r.tooMany()
		next := make(chan *batch, 1)
		go func() {
			if b.err = unmap(over); b.err == nil {
				b.m, b.err = r.x.Port().Map(r.domain, b.frames)
			}
			next <- b
		}()
		mapping = next
		use(before)
		turn = 1 - turn
		spare[turn].pages, spare[turn].frames = spare[turn].pages[:0], spare[turn].frames[:0]
		return failed == nil
	}
	set.all(func(n uint64) bool {
		if n >= l.pages || l.p2m != nil && !l.present.has(n) {
			return true
		}
		b := &spare[turn]
		b.pages, b.frames = append(b.pages, n), append(b.frames, l.frame(n))
		return len(b.pages) < batchFrames || flush(b)
	})
	if failed == nil && len(spare[turn].pages) > 0 {
		flush(&spare[turn])
	}
	use(mapped())
	if err := r.settled(); failed == nil {
		failed = err
	}
	return failed
}

// settled waits for over.
func (r *reader) settled() error {
	if r.working == nil {
		return nil
	}
	err := <-r.working
	r.working = nil
	return err
}

// tooMany takes out what lingers beyond the bound.
func (r *reader) tooMany() (over []*hypercall.Mapping) {
	for r.frames > r.keep {
		r.frames -= r.linger[0].Len()
		over, r.linger = append(over, r.linger[0]), r.linger[1:]
	}
	return over
}

// done unmaps what lingers.
func (r *reader) done() error {
	all := r.linger
	r.linger, r.frames = nil, 0
	return unmap(all)
}

func unmap(all []*hypercall.Mapping) error {
	var errs []error
	for _, m := range all {
		errs = append(errs, m.Unmap())
	}
	return errors.Join(errs...)
}

// visit looks at the pages of a batch and visits those that are not as known.
func (r *reader) visit(b *batch, visit visitor) error {
	r.look(b)
	if err := r.settled(); err != nil {
		return err
	}
	for i, n := range b.pages {
		if r.got[i].known {
			r.unchanged++
		} else if err := visit(n, &r.got[i]); err != nil {
			return err
		}
	}
	if r.over != nil {
		said := make(chan error, 1)
		go func(over func() error) { said <- over() }(r.over)
		r.working = said
	}
	return nil
}

// lookers bounds how many CPUs look at pages at once.
const lookers = 4

// look compares each page with what is known of it, where it is mapped, and copies
// those that differ, on as many CPUs as there are: most pages do not change, and the
// guest may be waiting.
func (r *reader) look(b *batch) {
	r.room[0], r.room[1] = r.room[1], r.room[0]
	if r.room[0] == nil {
		r.room[0] = make([]byte, batchFrames*format.PageSize)
	}
	if r.got == nil {
		r.got = make([]page, batchFrames)
	}
	parts := min(lookers, runtime.GOMAXPROCS(0))
	size := (len(b.pages) + parts - 1) / parts
	var wg sync.WaitGroup
	for from := 0; from < len(b.pages); from += size {
		to := min(from+size, len(b.pages))
		wg.Go(func() {
			for i := from; i < to; i++ {
				r.lookAt(b, i)
			}
		})
	}
	wg.Wait()
}

// zeros is the content of the pages that are all zeros.
var zeros [format.PageSize]byte

// lookAt looks at page i of a batch. What the guest writes meanwhile may be in the
// copy or not: the hash is of the copy. A page of zeros, of which a guest has many, is
// not copied.
func (r *reader) lookAt(b *batch, i int) {
	p := &r.got[i]
	*p = page{}
	data := r.room[0][i*format.PageSize : (i+1)*format.PageSize]
	p.err = b.m.Look(i, func(frame []byte) {
		if p.zero = format.IsZero(frame); p.zero {
			data = zeros[:]
		} else if p.known = r.known != nil && r.known.same(b.pages[i], frame); !p.known {
			copy(data, frame)
		}
	})
	if p.known || p.err != nil {
		return
	}
	if p.data = data; r.known == nil {
		return
	}
	if !p.zero {
		p.sum = r.known.sum(data)
		return
	}
	if p.sum = r.known.zero; r.known.is(b.pages[i], p.sum) {
		p.known, p.data = true, nil
	}
}
