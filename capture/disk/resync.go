package disk

import (
	"fmt"
	"maps"
	"slices"

	"github.com/xentape/xentape/format"
)

// chunkSize is the part of the disk that is read back at once, in bytes; it is
// what one mark of the kernel side stands for.
const chunkSize = 1 << 20

// discardLimit is how much of the disk is read back because it was discarded, for
// one request, in bytes. What a device reads as after a discard is its own affair
// (zeros, or what was there); beyond this the tape leaves it to the reader.
const discardLimit = 64 << 20

// resync knows which parts of the disk the tape is not sure of, and turns what was
// read back from the device into records.
//
// A chunk read from t0 to t1 may lack writes that ended in between. Those that are
// on the tape with their content are left out of what is written for the chunk,
// because the tape has them already; those that are not have marked the chunk
// again, so that it will be read again. A result is used when all events up to t1
// have been written.
type resync struct {
	size    uint64
	dirty   map[uint64]bool
	reading bool
	since   int64     // t0 of the read in progress
	recent  []written // writes that ended since then, with their content on the tape
	result  *chunkRead
}

type written struct {
	at     int64
	extent format.Extent
}

// chunkRead is what reading one chunk gave.
type chunkRead struct {
	chunk  uint64
	t0, t1 int64 // ns CLOCK_MONOTONIC before and after
	data   []byte
	err    error
}

func newResync(size uint64) *resync { return &resync{size: size, dirty: map[uint64]bool{}} }

// extent is the bytes of a chunk that the disk has.
func (r *resync) extent(chunk uint64) format.Extent {
	start := chunk * chunkSize
	if start >= r.size {
		return format.Extent{}
	}
	return format.Extent{Start: start, Count: min(chunkSize, r.size-start)}
}

// touch makes the chunks of a range of bytes be read again.
func (r *resync) touch(offset, length uint64) {
	if offset >= r.size {
		return
	}
	end := min(length, r.size-offset) + offset
	for c := offset / chunkSize; c*chunkSize < end; c++ {
		r.dirty[c] = true
	}
}

// next chooses the chunk to read, the lowest first.
func (r *resync) next() (chunk uint64, ok bool) {
	if r.reading || len(r.dirty) == 0 {
		return 0, false
	}
	chunk = slices.Min(slices.Collect(maps.Keys(r.dirty)))
	return chunk, true
}

// begin is called before a chunk is read.
func (r *resync) begin(chunk uint64, now int64) {
	delete(r.dirty, chunk)
	r.reading, r.since, r.recent = true, now, r.recent[:0]
}

// ended is called for every write whose completion went to the tape.
func (r *resync) ended(offset, length uint64, at int64) {
	if r.reading && at >= r.since && length > 0 {
		r.recent = append(r.recent, written{at, format.Extent{Start: offset, Count: length}})
	}
}

// records gives what of a result is to be written, once everything up to its t1
// has been.
func (r *resync) records(stream format.StreamID) []*format.DiskRequest {
	got := r.result
	r.result, r.reading = nil, false
	var newer []format.Extent
	for _, w := range r.recent {
		newer = append(newer, w.extent)
	}
	var out []*format.DiskRequest
	for _, e := range r.extent(got.chunk).Without(format.JoinExtents(newer)) {
		from := e.Start - got.chunk*chunkSize
		q := &format.DiskRequest{
			Op: format.DiskWrite, Flags: format.DiskReadback | format.DiskApplied,
			Offset: e.Start, Length: e.Count, Data: got.data[from : from+e.Count],
		}
		q.Stream, q.Time = stream, got.t1
		q.Uncertainty = uint32(min(got.t1-got.t0, 1<<32-1))
		out = append(out, q)
	}
	return out
}

// marks are the chunks of dirty as extents of bytes.
func (r *resync) marks(chunks []uint64) []format.Extent {
	var es []format.Extent
	for _, c := range chunks {
		es = append(es, r.extent(c))
	}
	return format.JoinExtents(es)
}

// failed is the gap of a chunk that could not be read back.
func (r *resync) failed(stream format.StreamID) *format.Gap {
	got := r.result
	r.result, r.reading = nil, false
	g := &format.Gap{
		From: got.t0, To: got.t1, Reason: format.GapUnreadable, Count: format.Unknown,
		Extents: []format.Extent{r.extent(got.chunk)}, Detail: fmt.Sprintf("read back: %v", got.err),
	}
	g.Stream, g.Time = stream, got.t1
	return g
}
