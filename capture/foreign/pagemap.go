package foreign

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/xentape/xentape/format"
)

// maxRuns bounds a page map: 8 Mi runs, 32 bytes each. An honest file of a 16 GiB
// guest has a few thousand; a live xl save with every page sent again in
// another order has 4 Mi.
const maxRuns = 8 << 20

// maxPage is one past the highest frame a 64-bit x86 machine can have (52-bit
// physical addresses).
const maxPage = 1 << 40

var (
	errTooManyRuns = fmt.Errorf("more than %d separate runs of pages", maxRuns)
	errTruncated   = errors.New("the file ends before this page")
)

// A run is count pages from page on, at off in the file when state is PageData.
type run struct {
	page, count uint64
	off         int64
	state       format.PageState
}

func (r run) end() uint64 { return r.page + r.count }

// pageMap says where in a file each page is. Runs are added in the order of the
// file, later ones override earlier ones; finish sorts and resolves.
type pageMap struct {
	r       io.ReaderAt
	size    int64
	stride  int64                             // bytes from one page's place in the file to the next one's
	read    func(off int64, dst []byte) error // nil: the page itself is at off
	runs    []run
	parts   map[uint64][]part // pages of which the file holds only some bytes
	clipped uint64            // pages lost to truncation
}

// A part is a piece of a page that does not fill it: the ends of a segment that
// is not page aligned, such as the 639 KiB below the EBDA in a kdump ELF.
type part struct {
	at, length int
	off        int64
}

// maxParts bounds the pages a file may hold only partly.
const maxParts = 1 << 16

// add appends a run; runs that continue the last one are merged into it.
func (m *pageMap) add(n run) error {
	if n.count == 0 {
		return nil
	}
	if n.page >= maxPage || n.count > maxPage-n.page {
		return fmt.Errorf("pages %#x+%#x are beyond any machine's memory", n.page, n.count)
	}
	if k := len(m.runs); k > 0 {
		l := &m.runs[k-1]
		if l.end() == n.page && l.state == n.state &&
			(n.state != format.PageData || l.off+int64(l.count)*m.stride == n.off) {
			l.count += n.count
			return nil
		}
	}
	if len(m.runs) >= maxRuns {
		return errTooManyRuns
	}
	m.runs = append(m.runs, n)
	return nil
}

// addBytes maps length bytes at file offset off to guest-physical address addr,
// which need not be page aligned.
func (m *pageMap) addBytes(addr uint64, off int64, length uint64) error {
	if addr > maxPage*format.PageSize || length > maxPage*format.PageSize-addr {
		return fmt.Errorf("bytes %#x+%#x are beyond any machine's memory", addr, length)
	}
	if head := addr % format.PageSize; head != 0 && length > 0 {
		n := min(length, format.PageSize-head)
		if err := m.addPart(addr/format.PageSize, part{int(head), int(n), off}); err != nil {
			return err
		}
		addr, off, length = addr+n, off+int64(n), length-n
	}
	whole := length / format.PageSize
	if err := m.add(run{addr / format.PageSize, whole, off, format.PageData}); err != nil {
		return err
	}
	if tail := length % format.PageSize; tail != 0 {
		return m.addPart(addr/format.PageSize+whole, part{0, int(tail), off + int64(whole)*format.PageSize})
	}
	return nil
}

func (m *pageMap) addPart(page uint64, p part) error {
	if m.parts == nil {
		m.parts = map[uint64][]part{}
	}
	if len(m.parts) >= maxParts || len(m.parts[page]) >= 16 {
		return fmt.Errorf("more than %d pages held only partly", maxParts)
	}
	m.parts[page] = append(m.parts[page], p)
	return nil
}

// finish resolves overlaps, clips what lies beyond the end of the file, and
// returns a warning for each thing lost.
func (m *pageMap) finish() []string {
	m.runs = resolve(m.runs, m.stride)
	var w []string
	if m.read == nil {
		m.clip()
	}
	if m.clipped > 0 {
		w = append(w, fmt.Sprintf("the file is truncated: %d pages (%d KiB) are missing at its end", m.clipped, m.clipped*4))
	}
	return w
}

// clip turns pages stored beyond the end of the file into PageMissing.
func (m *pageMap) clip() {
	out := make([]run, 0, len(m.runs))
	for _, r := range m.runs {
		if r.state != format.PageData {
			out = append(out, r)
			continue
		}
		have := uint64(0)
		if r.off >= 0 && r.off < m.size {
			have = min(uint64(m.size-r.off)/format.PageSize, r.count)
		}
		if have > 0 {
			out = append(out, run{r.page, have, r.off, r.state})
		}
		if have < r.count {
			m.clipped += r.count - have
			out = append(out, run{r.page + have, r.count - have, 0, format.PageMissing})
		}
	}
	m.runs = out
}

// find returns the run that holds page n.
func (m *pageMap) find(n uint64) (run, bool) {
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].end() > n })
	if i < len(m.runs) && m.runs[i].page <= n {
		return m.runs[i], true
	}
	return run{}, false
}

func (m *pageMap) readPage(n uint64, dst []byte) (format.PageState, error) {
	dst = dst[:format.PageSize]
	r, ok := m.find(n)
	if !ok || r.state == format.PageUnreadable {
		if p, ok := m.parts[n]; ok {
			return m.readParts(p, dst)
		}
	}
	if !ok {
		clear(dst)
		return format.PageAbsent, nil
	}
	switch r.state {
	case format.PageData:
	case format.PageMissing:
		clear(dst)
		return format.PageMissing, errTruncated
	default:
		clear(dst)
		return r.state, nil
	}
	var err error
	off := r.off + int64(n-r.page)*m.stride
	if m.read != nil {
		err = m.read(off, dst)
	} else {
		err = readFullAt(m.r, dst, off)
	}
	if err != nil {
		clear(dst)
		return format.PageMissing, err
	}
	return format.PageData, nil
}

func (m *pageMap) readParts(parts []part, dst []byte) (format.PageState, error) {
	clear(dst)
	for _, p := range parts {
		if err := readFullAt(m.r, dst[p.at:p.at+p.length], p.off); err != nil {
			clear(dst)
			return format.PageMissing, err
		}
	}
	return format.PageData, nil
}

// readFullAt fills dst from off; a short read is an error that says where.
func readFullAt(r io.ReaderAt, dst []byte, off int64) error {
	n, err := r.ReadAt(dst, off)
	if n == len(dst) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %#x: %w", len(dst), off, err)
}

// states lists what is known of each page, ascending, parts included.
func (m *pageMap) states() []StateExtent {
	out := make([]StateExtent, 0, len(m.runs)+len(m.parts))
	for _, r := range m.withParts() {
		if k := len(out); k > 0 && out[k-1].State == r.state && out[k-1].Start+out[k-1].Count == r.page {
			out[k-1].Count += r.count
			continue
		}
		out = append(out, StateExtent{format.Extent{Start: r.page, Count: r.count}, r.state})
	}
	return out
}

// withParts is the runs with one-page runs for the parts no whole page covers.
func (m *pageMap) withParts() []run {
	if len(m.parts) == 0 {
		return m.runs
	}
	pages := make([]uint64, 0, len(m.parts))
	for n := range m.parts {
		if r, ok := m.find(n); !ok || r.state == format.PageUnreadable {
			pages = append(pages, n)
		}
	}
	slices.Sort(pages)
	all := slices.Clone(m.runs)
	for _, n := range pages {
		all = append(all, run{n, 1, 0, format.PageData})
	}
	return resolve(all, m.stride)
}

func (m *pageMap) extents() []format.Extent {
	var out []format.Extent
	for _, s := range m.states() {
		if s.State != format.PageData && s.State != format.PageZero {
			continue
		}
		out = format.AppendExtent(out, s.Extent)
	}
	return out
}

func (m *pageMap) limit() uint64 {
	var n uint64
	if k := len(m.runs); k > 0 {
		n = m.runs[k-1].end()
	}
	for p := range m.parts {
		n = max(n, p+1)
	}
	return n
}

// resolve sorts runs and removes overlaps: where two runs state the same page,
// the one later in the slice wins.
func resolve(runs []run, stride int64) []run {
	order := make([]int, len(runs))
	sorted, overlap := true, false
	for i := range runs {
		order[i] = i
		if i > 0 && runs[i].page < runs[i-1].end() {
			sorted = false
		}
	}
	if sorted {
		return runs
	}
	slices.SortFunc(order, func(a, b int) int {
		if runs[a].page != runs[b].page {
			if runs[a].page < runs[b].page {
				return -1
			}
			return 1
		}
		return a - b
	})
	out := make([]run, 0, len(runs))
	for i, k := range order {
		if i > 0 && runs[k].page < runs[order[i-1]].end() {
			overlap = true
		}
		out = append(out, runs[k])
	}
	if !overlap {
		return out
	}
	return sweep(runs, order, stride)
}

// sweep walks the runs in page order with the open ones in a heap, the latest on
// top, and cuts a piece wherever the top changes.
func sweep(runs []run, order []int, stride int64) []run {
	var out []run
	open := &latest{}
	emit := func(from, to uint64) {
		for from < to {
			for open.Len() > 0 && runs[(*open)[0]].end() <= from {
				heap.Pop(open)
			}
			if open.Len() == 0 {
				return
			}
			top := runs[(*open)[0]]
			end := min(to, top.end())
			piece := run{from, end - from, top.off, top.state}
			if top.state == format.PageData {
				piece.off += int64(from-top.page) * stride
			}
			out = append(out, piece)
			from = end
		}
	}
	at := uint64(0)
	for _, k := range order {
		emit(at, runs[k].page)
		at = runs[k].page
		heap.Push(open, k)
	}
	emit(at, maxPage)
	return out
}

// latest is a heap of run indices, the highest first.
type latest []int

func (h latest) Len() int           { return len(h) }
func (h latest) Less(i, j int) bool { return h[i] > h[j] }
func (h latest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *latest) Push(x any)        { *h = append(*h, x.(int)) }
func (h *latest) Pop() any {
	o := *h
	x := o[len(o)-1]
	*h = o[:len(o)-1]
	return x
}
