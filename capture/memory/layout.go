package memory

import (
	"context"
	"fmt"

	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenabi"
	"github.com/xentape/xentape/format"
)

// layout is where a guest's memory is at one moment.
type layout struct {
	pages   uint64   // one past the highest page number that can exist
	present bitset   // pages that have a frame to read
	states  []run    // pages that exist and are not read, ascending
	p2m     []uint64 // PV: machine frame by page, as the guest has it; nil: the page number is the frame number
	total   uint64   // frames Xen says the domain has
	shared  []uint64 // HVM: pages that are Xen's own and the guest has mapped; the dirty log leaves them out
	unasked error    // why these are not known
}

// run is a run of pages in one state.
type run struct {
	format.Extent
	state format.PageState
}

// frame is what to map for a page.
func (l *layout) frame(page uint64) uint64 {
	if l.p2m != nil {
		return l.p2m[page]
	}
	return page
}

func (l *layout) setState(page uint64, st format.PageState) {
	if n := len(l.states); n > 0 {
		last := &l.states[n-1]
		if last.state == st && last.Start+last.Count == page {
			last.Count++
			return
		}
	}
	l.states = append(l.states, run{format.Extent{Start: page, Count: 1}, st})
}

// maxPages bounds the page numbers of a guest, in pages: 16 TiB.
const maxPages = 1 << 32

// plan finds out where the guest's memory is.
func plan(ctx context.Context, x *hypercall.Xen, info xenabi.DomainInfo, allowPoD bool) (*layout, error) {
	if info.HVM() {
		return planHVM(ctx, x, info, allowPoD)
	}
	return planPV(x, info)
}

// typesAtOnce is how many frames are asked about before looking whether to go on: whole
// words of a bitset.
const typesAtOnce = 16 << 10

func planHVM(ctx context.Context, x *hypercall.Xen, info xenabi.DomainInfo, allowPoD bool) (*layout, error) {
	l, err := sizeHVM(x, info)
	if err == nil {
		err = l.ask(ctx, x, info, allowPoD, func(format.Extent) {})
	}
	if err == nil {
		l.addShared(x, info)
	}
	return l, err
}

// sizeHVM says how far the guest's memory goes.
func sizeHVM(x *hypercall.Xen, info xenabi.DomainInfo) (*layout, error) {
	highest, err := x.MaximumGPFN(info.Domain)
	if err != nil {
		return nil, err
	}
	if highest >= maxPages {
		return nil, fmt.Errorf("domain %d has frames up to %#x: more than the %#x supported", info.Domain, highest, uint64(maxPages))
	}
	return &layout{pages: highest + 1, present: newBitset(highest + 1), total: info.TotalPages}, nil
}

// ask asks Xen for the type of guest frames, and calls known when it has those of an
// extent. Most numbers below the highest have no frame: mapping them all blindly takes
// ten times as long. Asking populates: that it does no harm is looked at anew each
// time, because the toolstack may take memory away meanwhile.
//
// The last numbers are asked about first, for what the toolstack puts there, and the
// others from 0 on until each frame the domain has is found: what is left between has
// none. A guest of 200 MiB has 19 of 20 numbers there.
func (l *layout) ask(ctx context.Context, x *hypercall.Xen, info xenabi.DomainInfo, allowPoD bool, known func(format.Extent)) error {
	types := func(e format.Extent) ([]uint8, error) {
		err := ctx.Err()
		if err == nil && !allowPoD {
			err = checkPoD(x, info.Domain)
		}
		if err != nil {
			return nil, err
		}
		return x.PageTypeRange(info.Domain, e.Start, e.Count)
	}
	last := format.Extent{Start: (l.pages - 1) / typesAtOnce * typesAtOnce}
	last.Count = l.pages - last.Start
	above, err := types(last)
	if err != nil {
		return err
	}
	// The total leaves out frames that are shared with other domains or were paged out
	// (getdomaininfo in xen/common/domctl.c): with any of these all numbers are asked about.
	sure := info.SharedPages == 0 && info.PagedPages == 0
	found := framesAmong(above)
	for start := uint64(0); start < last.Start && (!sure || found < info.TotalPages); start += typesAtOnce {
		e := format.Extent{Start: start, Count: typesAtOnce}
		t, err := types(e)
		if err != nil {
			return err
		}
		found += framesAmong(t)
		l.note(e, t)
		known(e)
	}
	l.note(last, above)
	known(last)
	return nil
}

// note notes what the frames of an extent are. What is only promised
// (xenabi.PageTypeXAlloc) has no content yet, and reading would populate it.
func (l *layout) note(e format.Extent, types []uint8) {
	for i, t := range types {
		switch n := e.Start + uint64(i); {
		case hasFrame(t):
			l.present.add(n)
		case t == xenabi.PageTypeBroken:
			l.setState(n, format.PageUnreadable)
		}
	}
}

func hasFrame(t uint8) bool {
	return t != xenabi.PageTypeInvalid && t != xenabi.PageTypeBroken && t != xenabi.PageTypeXAlloc
}

func framesAmong(types []uint8) (n uint64) {
	for _, t := range types {
		if hasFrame(t) {
			n++
		}
	}
	return n
}

// addShared adds the frames that Xen keeps for the guest in its own heap and the guest
// has mapped among its memory: shared info and the grant table. The type of such a
// frame is reported as if there was none (getpageframeinfo3 in xen/arch/x86/domctl.c),
// but it can be mapped.
func (l *layout) addShared(x *hypercall.Xen, info xenabi.DomainInfo) {
	var frames []uint64
	frames, l.unasked = x.GrantFrames(info.Domain)
	for _, f := range append(frames, info.SharedInfoFrame) {
		if f > 0 && f < l.pages && !l.present.has(f) {
			l.present.add(f)
			l.shared = append(l.shared, f)
		}
	}
}

// PoDError says that a guest is not read because it has populate-on-demand entries
// outstanding. Entries and Cache, the pages to back them, are in pages.
type PoDError struct {
	Domain         uint16
	Entries, Cache uint64
}

func (e *PoDError) Error() string {
	then := "Xen crashes the guest when they run out; start it with memory = maxmem, wait until its balloon driver has made do with the memory it has and allow it explicitly, or allow it at the guest's risk"
	if e.Entries <= e.Cache {
		then = "of which there is one for each as long as nobody changes the guest's memory, and Xen crashes the guest when they run out; start it with memory = maxmem, or allow it explicitly"
	}
	return fmt.Sprintf("domain %d has %d populate-on-demand entries and %d pages to back them: reading its memory populates pages, %s",
		e.Domain, e.Entries, e.Cache, then)
}

// checkPoD refuses guests that looking at can crash. A guest whose balloon driver is
// done is left with as many entries as pages for ever: Xen takes only pages beyond the
// entries back (p2m_pod_decrease_reservation in xen/arch/x86/mm/p2m-pod.c). A look
// populates these and that is all, but the toolstack may take pages away at any time.
func checkPoD(x *hypercall.Xen, domain uint16) error {
	t, known, err := x.PoDTarget(domain)
	if err != nil {
		return err
	}
	if known && t.Entries > 0 {
		return &PoDError{Domain: domain, Entries: t.Entries, Cache: t.Cache}
	}
	return nil
}
