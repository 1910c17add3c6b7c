package disk

import (
	"fmt"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

const sectorSize = 512

// maxPayload bounds the payload that is assembled of one request, in bytes; the
// kernel side copies no more (MAX_PIECES of blocks.bpf.c).
const maxPayload = 16 << 20

// How long the pieces of a write may take, in ns, before they count as dropped. They
// are reported by one run of the program in the kernel, which on a host short of
// CPUs may itself be kept waiting; where much is held back behind a write, patience
// is short, so that memory is bounded.
const (
	payloadPatience = 2e9
	shortPatience   = 200e6
	heldLimit       = 64 << 20 // bytes of payload held back at which it is short
)

// stampError is what lies between a request and its time stamp, in ns.
const stampError = 1000

// order puts events into the order in which the ring had them, with the payload of
// writes complete, and writes them as records. Requests go out in the order in
// which they were queued, each before its completion.
type order struct {
	write   func(format.Record) error
	stream  format.StreamID
	queue   []*pending
	filling map[uint64]*pending // writes that wait for payload
	free    [][]byte
	held    int // bytes of payload in queue

	noPayload bool // no write will have one

	// ended is called for each completion after it was written.
	ended func(q *pending, status int32, at int64)
	// unknown is called for a request of a kind the format has no name for.
	unknown func(q *pending)

	flying map[uint64]*pending // written and not ended
}

// pending is a request or a completion on its way to the tape.
type pending struct {
	event   bpf.Event
	data    []byte // of a write
	got     uint32
	noData  bool
	doubted bool  // its end may never be seen
	missed  int64 // when the kernel was found to have it no more, its end unread; 0: not
}

func newOrder(stream format.StreamID, write func(format.Record) error) *order {
	return &order{
		write: write, stream: stream, filling: map[uint64]*pending{}, flying: map[uint64]*pending{},
		ended: func(*pending, int32, int64) {}, unknown: func(*pending) {},
	}
}

func (p *pending) offset() uint64 { return p.event.Sector * sectorSize }
func (p *pending) length() uint64 { return uint64(p.event.Bytes) }

// add takes one event. What it holds is copied.
func (o *order) add(e *bpf.Event) {
	switch e.Kind {
	case bpf.Request:
		p := &pending{event: *e}
		p.event.Data = nil
		if format.DiskOp(e.Op) == format.DiskWrite && e.Bytes > 0 {
			if e.Bytes <= maxPayload && !o.noPayload {
				p.data = o.buffer(int(e.Bytes))
				o.held += len(p.data)
				o.filling[e.ID] = p
			} else {
				p.noData = true
			}
		}
		o.queue = append(o.queue, p)
	case bpf.Payload:
		p := o.filling[e.ID]
		if p == nil || uint64(p.got) != e.Sector || uint64(e.Bytes) > p.length()-e.Sector {
			return // of a request given up, or one whose header was dropped
		}
		copy(p.data[p.got:], e.Data)
		p.got += e.Bytes
		if p.got == p.event.Bytes {
			delete(o.filling, e.ID)
		}
	case bpf.Completion:
		p := &pending{event: *e}
		p.event.Data = nil
		o.queue = append(o.queue, p)
	}
}

func (o *order) buffer(n int) []byte {
	for i := len(o.free) - 1; i >= 0; i-- {
		if b := o.free[i]; cap(b) >= n {
			o.free[i] = o.free[len(o.free)-1]
			o.free = o.free[:len(o.free)-1]
			return b[:n]
		}
	}
	return make([]byte, n)
}

func (o *order) release(p *pending) {
	o.held -= len(p.data)
	if p.data != nil && len(o.free) < 64 {
		o.free = append(o.free, p.data)
	}
	p.data = nil
}

// commit writes what is ready at the time now. A write whose payload has not come
// in time holds up those behind it no longer, and is written without.
func (o *order) commit(now int64) error {
	n := 0
	patience := int64(payloadPatience)
	if o.held > heldLimit {
		patience = shortPatience
	}
	for _, p := range o.queue {
		if p.waits() {
			if now-p.event.Time < patience {
				break
			}
			p.noData = true
			delete(o.filling, p.event.ID)
		}
		n++
		if err := o.put(p); err != nil {
			o.drop(n)
			return err
		}
	}
	o.drop(n)
	return nil
}

func (o *order) drop(n int) {
	rest := copy(o.queue, o.queue[n:])
	clear(o.queue[rest:])
	o.queue = o.queue[:rest]
}

// waits reports whether p is a write that is not whole.
func (p *pending) waits() bool {
	return p.event.Kind == bpf.Request && p.data != nil && !p.noData && p.got < p.event.Bytes
}

// empty reports whether everything added has been written.
func (o *order) empty() bool { return len(o.queue) == 0 }

func (o *order) put(p *pending) error {
	if p.event.Kind == bpf.Completion {
		return o.putCompletion(p)
	}
	if p.event.Op == bpf.Other {
		o.unknown(p)
		return nil
	}
	o.flying[p.event.ID] = p
	q := format.DiskRequest{
		ID: p.event.ID, Op: format.DiskOp(p.event.Op), Flags: requestFlags(p.event.Flags),
		Offset: p.offset(), Length: p.length(),
	}
	q.Stream, q.Time, q.Uncertainty = o.stream, p.event.Time, stampError
	if p.noData {
		q.Flags |= format.DiskNoData
		o.release(p)
	}
	if p.data == nil {
		return o.write(&q)
	}
	defer o.release(p)
	for at := uint64(0); at < p.length(); at += format.MaxDiskData {
		part := q
		part.Offset, part.Length = q.Offset+at, min(q.Length-at, format.MaxDiskData)
		part.Data = p.data[at : at+part.Length]
		if err := o.write(&part); err != nil {
			return err
		}
	}
	return nil
}

func (o *order) putCompletion(p *pending) error {
	if p.event.Op == bpf.Other {
		return nil
	}
	status := errno(p.event.Status)
	c := format.DiskCompletion{ID: p.event.ID, Status: status}
	c.Stream, c.Time, c.Uncertainty = o.stream, p.event.Time, stampError
	q := o.flying[p.event.ID]
	delete(o.flying, p.event.ID)
	if q == nil {
		// Its request was dropped: the part of the disk it touched is marked, and
		// the event says where it was.
		q = &pending{event: p.event, noData: true}
	} else if err := o.write(&c); err != nil {
		return err
	}
	o.ended(q, status, p.event.Time)
	return nil
}

func requestFlags(f uint8) format.DiskFlags {
	var out format.DiskFlags
	if f&bpf.FUA != 0 {
		out |= format.DiskFUA
	}
	if f&bpf.Preflush != 0 {
		out |= format.DiskPreflush
	}
	if f&bpf.Sync != 0 {
		out |= format.DiskSync
	}
	if f&bpf.Meta != 0 {
		out |= format.DiskMeta
	}
	return out
}

// errno turns a blk_status_t into the errno the kernel gives for it
// (blk_errors, block/blk-core.c of Linux 6.1). The numbers up to 10 have not
// changed since 4.13; others are input/output errors.
func errno(status uint8) int32 {
	known := [...]int32{0, 95, 110, 28, 67, 121, 52, 61, 84, 12, 5}
	if int(status) < len(known) {
		return known[status]
	}
	return 5
}

// describe says what a request was, for a person.
func (p *pending) describe() string {
	return fmt.Sprintf("request of operation %d, %d bytes at %d", p.event.Op, p.length(), p.offset())
}
