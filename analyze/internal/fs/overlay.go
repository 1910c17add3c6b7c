package fs

import (
	"fmt"
	"io"
	"slices"

	"github.com/xentape/xentape/format"
)

const (
	pageSize   = format.PageSize
	sectorSize = 512
	allSectors = 0xff // a page holds eight sectors
)

// Overlay is a disk at one moment of a tape: a base image, possibly incomplete
// or absent, and the writes applied so far. It holds only what was written, at
// page granularity, in memory or in a Scratch. It is not safe for concurrent
// use: one analyzer owns it.
type Overlay struct {
	size  uint64
	base  format.Image // nil: nothing known of what was there before
	pages map[uint64]uint32
	known map[uint64]uint8 // pages of which only some sectors are known, a bit each
	runs  runSet           // cleared or forgotten stretches that hide the base
	store pageStore
	buf   [pageSize]byte
	cache baseCache
}

// NewOverlay is a disk of size bytes over base. scratch may be nil: written
// pages are then kept on the heap.
func NewOverlay(size uint64, base format.Image, scratch Scratch) *Overlay {
	return &Overlay{
		size: size, base: base,
		pages: map[uint64]uint32{}, known: map[uint64]uint8{},
		store: newPageStore(scratch),
	}
}

// Size is the length of the disk in bytes.
func (o *Overlay) Size() uint64 { return o.size }

// Grow makes the disk longer; it never shrinks.
func (o *Overlay) Grow(size uint64) { o.size = max(o.size, size) }

// page fills dst with page n and returns the mask of sectors known.
func (o *Overlay) page(n uint64, dst *[pageSize]byte) (uint8, error) {
	if slot, ok := o.pages[n]; ok {
		if err := o.store.read(slot, dst); err != nil {
			return 0, fmt.Errorf("page %d of the overlay: %w", n, err)
		}
		if m, partial := o.known[n]; partial {
			return m, nil
		}
		return allSectors, nil
	}
	switch st, _ := o.runs.at(n); st {
	case runZero:
		clear(dst[:])
		return allSectors, nil
	case runUnknown:
		clear(dst[:])
		return 0, nil
	}
	if o.base == nil {
		clear(dst[:])
		return 0, nil
	}
	if known, ok := o.cache.get(n, dst); ok {
		return known, nil
	}
	st, err := o.base.ReadPage(n, dst[:])
	if err != nil || (st != format.PageData && st != format.PageZero) {
		// A page that cannot be had is unknown, and the tape's reader has already
		// said why; the analysis goes on without it.
		clear(dst[:])
		o.cache.put(n, dst, 0)
		return 0, nil
	}
	o.cache.put(n, dst, allSectors)
	return allSectors, nil
}

// ReadAt implements io.ReaderAt. Bytes never captured read as zero and give an
// *UnknownError naming the first such run; the rest of p is filled all the same.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off) >= o.size {
		return 0, io.EOF
	}
	var eof error
	if uint64(len(p)) > o.size-uint64(off) {
		p, eof = p[:o.size-uint64(off)], io.EOF
	}
	var unknown *UnknownError
	for done := 0; done < len(p); {
		at := uint64(off) + uint64(done)
		in := int(at % pageSize)
		if k, err := o.readRun(at, p[done:]); err != nil {
			return done, err
		} else if k > 0 {
			done += k
			continue
		}
		n := min(len(p)-done, pageSize-in)
		whole := &o.buf
		if n == pageSize {
			whole = (*[pageSize]byte)(p[done:])
		}
		mask, err := o.page(at/pageSize, whole)
		if err != nil {
			return done, err
		}
		if n < pageSize {
			copy(p[done:done+n], o.buf[in:])
		}
		if need := sectors(in, n); mask&need != need {
			unknown = mergeUnknown(unknown, at, uint64(n))
		}
		done += n
	}
	if unknown != nil {
		return len(p), unknown
	}
	return len(p), eof
}

// readRun reads whole pages from at on that lie one after the other in the scratch, at
// once, and returns how many bytes that were: 0 where there are not two.
func (o *Overlay) readRun(at uint64, p []byte) (int, error) {
	if o.store.scratch == nil || at%pageSize != 0 || len(p) < 2*pageSize {
		return 0, nil
	}
	first, k := at/pageSize, uint64(0)
	slot := o.pages[first]
	for ; k < uint64(len(p))/pageSize; k++ {
		s, have := o.pages[first+k]
		if _, partial := o.known[first+k]; !have || partial || uint64(s) != uint64(slot)+k {
			break
		}
	}
	if k < 2 {
		return 0, nil
	}
	if err := o.store.readRun(slot, p[:k*pageSize]); err != nil {
		return 0, fmt.Errorf("pages %d to %d of the overlay: %w", first, first+k-1, err)
	}
	return int(k * pageSize), nil
}

func mergeUnknown(u *UnknownError, off, n uint64) *UnknownError {
	if u == nil {
		return &UnknownError{Off: off, Len: n}
	}
	if u.Off+u.Len == off {
		u.Len += n
	}
	return u
}

// sectors is the mask of the sectors that [in, in+n) of a page touches.
func sectors(in, n int) uint8 {
	lo, hi := in/sectorSize, (in+n+sectorSize-1)/sectorSize
	return uint8(1<<hi-1) &^ uint8(1<<lo-1)
}

// Known reports whether every byte of the range has been captured.
func (o *Overlay) Known(off, n uint64) bool {
	if n == 0 {
		return true
	}
	if off+n < off || off+n > o.size {
		return false
	}
	for p := off / pageSize; p <= (off+n-1)/pageSize; p++ {
		in, end := uint64(0), uint64(pageSize)
		if p == off/pageSize {
			in = off % pageSize
		}
		if p == (off+n-1)/pageSize {
			end = (off+n-1)%pageSize + 1
		}
		mask, err := o.page(p, &o.buf)
		need := sectors(int(in), int(end-in))
		if err != nil || mask&need != need {
			return false
		}
	}
	return true
}

// Apply stores w, whose offset is from the start of the disk. What lies beyond
// the end is dropped.
func (o *Overlay) Apply(w *Write) error {
	off, n := w.Off, w.Len
	if off >= o.size {
		return nil
	}
	n = min(n, o.size-off)
	switch w.Op {
	case OpWrite:
		n = min(n, uint64(len(w.Data)))
		return o.write(off, w.Data[:n])
	case OpZero, OpDiscard:
		return o.clearRange(off, n, runZero)
	}
	return o.clearRange(off, n, runUnknown)
}

func (o *Overlay) write(off uint64, data []byte) error {
	for len(data) > 0 {
		n, in := off/pageSize, int(off%pageSize)
		k := min(len(data), pageSize-in)
		if k == pageSize {
			took, err := o.put(n, data)
			if err != nil {
				return err
			}
			off, data = off+uint64(took), data[took:]
			continue
		}
		if err := o.patch(n, in, data[:k], k, allSectors); err != nil {
			return err
		}
		off, data = off+uint64(k), data[k:]
	}
	return nil
}

// put replaces pages from n on by the whole pages of data, as many as lie one after the
// other where they are kept, and returns how many bytes that were.
func (o *Overlay) put(n uint64, data []byte) (int, error) {
	slot, have := o.pages[n]
	if !have {
		slot = o.store.alloc()
	}
	k := uint64(0)
	for next := slot; ; {
		o.pages[n+k] = next
		if len(o.known) > 0 {
			delete(o.known, n+k)
		}
		if k++; (k+1)*pageSize > uint64(len(data)) {
			break
		}
		if next, have = o.pages[n+k]; have && uint64(next) == uint64(slot)+k {
			continue
		}
		if have || !o.store.follows(slot+uint32(k)) {
			break
		}
		next = o.store.alloc()
	}
	if err := o.store.writeRun(slot, data[:k*pageSize]); err != nil {
		return 0, fmt.Errorf("pages %d to %d of the overlay: %w", n, n+k-1, err)
	}
	return int(k * pageSize), nil
}

// patch replaces k bytes of page n from in by data (zeros when nil) and makes
// the sectors it wholly covers as known as mark says.
func (o *Overlay) patch(n uint64, in int, data []byte, k int, mark uint8) error {
	slot, have := o.pages[n]
	if !have {
		slot = o.store.alloc()
	}
	mask := uint8(allSectors)
	if k != pageSize {
		m, err := o.page(n, &o.buf)
		if err != nil {
			return err
		}
		mask = m
	}
	if data == nil {
		clear(o.buf[in : in+k])
	} else {
		copy(o.buf[in:], data)
	}
	touched := sectors(in, k)
	if mark == 0 {
		mask &^= touched
	} else {
		mask |= touched
	}
	if mask == allSectors {
		delete(o.known, n)
	} else {
		o.known[n] = mask
	}
	if err := o.store.write(slot, &o.buf); err != nil {
		return fmt.Errorf("page %d of the overlay: %w", n, err)
	}
	o.pages[n] = slot
	return nil
}

// clearRange makes a range zero or unknown: whole pages by one run, the ragged
// ends by rewriting their page.
func (o *Overlay) clearRange(off, n uint64, st runState) error {
	mark := uint8(allSectors)
	if st == runUnknown {
		mark = 0
	}
	end := off + n
	if in := off % pageSize; in != 0 {
		k := min(n, pageSize-in)
		if err := o.patch(off/pageSize, int(in), nil, int(k), mark); err != nil {
			return err
		}
		off += k
	}
	if off >= end {
		return nil
	}
	if k := end % pageSize; k != 0 {
		if err := o.patch(end/pageSize, 0, nil, int(k), mark); err != nil {
			return err
		}
		end -= k
	}
	o.runs.set(off/pageSize, end/pageSize, st)
	o.drop(off/pageSize, end/pageSize)
	return nil
}

// drop forgets stored pages of [from, to), by whichever is the shorter walk.
func (o *Overlay) drop(from, to uint64) {
	if to-from > uint64(len(o.pages)) {
		for n, slot := range o.pages {
			if n >= from && n < to {
				o.free(n, slot)
			}
		}
		return
	}
	for n := from; n < to; n++ {
		if slot, ok := o.pages[n]; ok {
			o.free(n, slot)
		}
	}
}

func (o *Overlay) free(n uint64, slot uint32) {
	o.store.release(slot)
	delete(o.pages, n)
	delete(o.known, n)
}

// ReadPage implements format.Image, so that the disk as it stands can be
// exported. A page only partly known is PageMissing with its known sectors in dst.
func (o *Overlay) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	if n*pageSize >= o.size || n > o.size {
		clear(dst[:pageSize])
		return format.PageAbsent, nil
	}
	mask, err := o.page(n, &o.buf)
	if err != nil {
		return format.PageMissing, err
	}
	copy(dst, o.buf[:])
	if mask != allSectors {
		return format.PageMissing, nil
	}
	return format.PageData, nil
}

// Extents implements format.Image.
func (o *Overlay) Extents() []format.Extent {
	var all runSet // runZero stands for known here, runUnknown for not
	if o.base != nil {
		for _, e := range o.base.Extents() {
			all.set(e.Start, min(e.Start+e.Count, (o.size+pageSize-1)/pageSize), runZero)
		}
	}
	for _, r := range o.runs.runs {
		all.set(r.start, r.end, r.state)
	}
	ns := make([]uint64, 0, len(o.pages))
	for n := range o.pages {
		ns = append(ns, n)
	}
	slices.Sort(ns)
	for _, n := range ns {
		st := runZero
		if _, partial := o.known[n]; partial {
			st = runUnknown
		}
		all.set(n, n+1, st)
	}
	var out []format.Extent
	for _, r := range all.runs {
		if r.state != runZero {
			continue
		}
		out = format.AppendExtent(out, format.Extent{Start: r.start, Count: r.end - r.start})
	}
	return out
}

// Pages is how many pages are stored, for accounting.
func (o *Overlay) Pages() int { return len(o.pages) }
