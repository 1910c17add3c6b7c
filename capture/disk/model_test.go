//go:build linux

package disk

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

// machine plays the guest, its device and the kernel side, in one: it writes at
// random, drops events as a ring that is full does, and marks what it dropped. It
// says nothing to the recorder that the kernel would not.
type machine struct {
	rng   *rand.Rand
	clock atomic.Int64
	left  int // actions of the guest to come
	calm  int // of which the last so many go well

	mu      sync.Mutex
	disk    []byte
	flying  []*flyingWrite
	ring    []bpf.Event
	marks   map[uint64]bool
	counts  bpf.Counters
	lastID  uint64
	choking bool // the ring is full now
}

type flyingWrite struct {
	bpf.Event
	data    []byte
	dropped bool
}

func (m *machine) Now() int64 { return m.clock.Add(1000) }

// read gives the content as a device does: not all of it at one moment.
func (m *machine) read(b []byte, off uint64) error {
	for at := 0; at < len(b); at += 4096 {
		m.mu.Lock()
		copy(b[at:min(at+4096, len(b))], m.disk[off+uint64(at):])
		m.clock.Add(50_000)
		m.mu.Unlock()
		time.Sleep(time.Microsecond) // the guest goes on meanwhile
	}
	return nil
}

func (m *machine) emit(e bpf.Event) bool {
	if m.troubled() && (m.choking && m.rng.Intn(3) > 0 || m.rng.Intn(100) == 0) {
		return false
	}
	m.ring = append(m.ring, e)
	return true
}

// troubled is the first part of the run, in which events are dropped and requests
// fail. After it nothing is read back that was not already to be, so that what a
// read back spoils stays spoilt.
func (m *machine) troubled() bool { return m.left > m.calm }

func (m *machine) mark(e *bpf.Event) {
	first, last := e.Sector*512/chunkSize, (e.Sector*512+uint64(e.Bytes)-1)/chunkSize
	for c := first; c <= last; c++ {
		m.marks[c] = true
	}
}

// queue begins a write, as the program queue of blocks.bpf.c reports it.
func (m *machine) queue() {
	sectors := uint64(1 + m.rng.Intn(64))
	w := &flyingWrite{Event: bpf.Event{Kind: bpf.Request, Op: uint8(format.DiskWrite), Time: m.Now()}}
	m.lastID++
	w.ID, w.Bytes = m.lastID, uint32(sectors*512)
	w.Sector = uint64(m.rng.Intn(len(m.disk)/512 - int(sectors)))
	w.data = make([]byte, w.Bytes)
	switch kind := m.rng.Intn(10); {
	case kind == 0:
		w.Op = uint8(format.DiskWriteZeroes)
	case kind == 1 && m.troubled():
		w.Op = uint8(format.DiskDiscard)
	default:
		m.rng.Read(w.data)
	}
	m.counts.Requests++
	ok := m.emit(w.Event)
	for at := 0; ok && w.Op == uint8(format.DiskWrite) && at < len(w.data); at += 4096 {
		part := w.data[at:min(at+4096, len(w.data))]
		ok = m.emit(bpf.Event{Kind: bpf.Payload, ID: w.ID, Sector: uint64(at), Bytes: uint32(len(part)), Data: part})
	}
	if !ok {
		w.dropped = true
		m.counts.Dropped++
		m.mark(&w.Event)
	}
	m.flying = append(m.flying, w)
}

// complete ends a random write; some fail half done, and a discard is forgotten by
// the device as often as done.
func (m *machine) complete() {
	i := m.rng.Intn(len(m.flying))
	w := m.flying[i]
	m.flying = append(m.flying[:i], m.flying[i+1:]...)
	n := len(w.data)
	done := bpf.Event{Kind: bpf.Completion, ID: w.ID, Op: w.Op, Time: m.Now(), Sector: w.Sector, Bytes: w.Bytes}
	if m.troubled() && m.rng.Intn(20) == 0 {
		n, done.Status = n/1024*512, 10
	}
	if w.Op != uint8(format.DiskDiscard) || m.rng.Intn(2) == 0 {
		copy(m.disk[w.Sector*512:], w.data[:n])
	}
	ok := m.emit(done)
	if !ok {
		m.counts.CompletionsDropped++
	}
	if !ok || w.dropped {
		m.mark(&w.Event)
	}
}

// overlaps reports whether a new write would touch one in flight: what the device
// then holds is nobody's promise.
func (m *machine) overlapsFlight() bool {
	w := m.flying[len(m.flying)-1]
	for _, f := range m.flying[:len(m.flying)-1] {
		if w.Sector < f.Sector+uint64(f.Bytes/512) && f.Sector < w.Sector+uint64(w.Bytes/512) {
			return true
		}
	}
	return false
}

// Next implements probe.
func (m *machine) Next(e *bpf.Event, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left > 0 && m.rng.Intn(2) == 0 {
		m.left--
		m.choking = m.left%10 > 7
		m.queue()
		for m.overlapsFlight() {
			m.complete()
			if len(m.flying) == 0 {
				break
			}
		}
	} else if len(m.flying) > 0 && (m.left == 0 || m.rng.Intn(2) == 0) {
		m.complete()
	}
	if len(m.ring) == 0 || m.rng.Intn(50) == 0 && m.left > 0 {
		m.clock.Add(int64(lookPeriod))
		return os.ErrDeadlineExceeded
	}
	*e = m.ring[0]
	m.ring = m.ring[1:]
	return nil
}

func (m *machine) Touched(visit func(uint64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.marks {
		visit(c)
	}
	clear(m.marks)
}

func (m *machine) Counters() (bpf.Counters, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts, nil
}

func (m *machine) InFlight() (map[uint64]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[uint64]bool{}
	for _, w := range m.flying {
		out[w.ID] = true
	}
	return out, nil
}

func (m *machine) Detach() error { return nil }
func (m *machine) Close() error  { return nil }

func (r *recorder) DefineStream(format.StreamDef) (format.StreamID, error) { return 3, nil }
func (r *recorder) Write(rec format.Record) error                          { return r.write(rec) }
func (r *recorder) BeginSnapshot(format.SnapshotBegin) (*format.SnapshotWriter, error) {
	return nil, os.ErrInvalid
}

// apply replays records onto a disk by the rules of the format: requests take
// effect when they complete with success, what was read back at once.
func apply(disk []byte, records []format.Record) {
	flight := map[uint64][]*format.DiskRequest{}
	put := func(q *format.DiskRequest) {
		if q.Op == format.DiskWrite && q.Flags&format.DiskNoData == 0 {
			copy(disk[q.Offset:], q.Data)
		} else if q.Op == format.DiskWriteZeroes || q.Op == format.DiskDiscard {
			clear(disk[q.Offset : q.Offset+q.Length])
		}
	}
	for _, rec := range records {
		switch rec := rec.(type) {
		case *format.DiskRequest:
			if rec.Flags&format.DiskApplied != 0 {
				put(rec)
			} else {
				flight[rec.ID] = append(flight[rec.ID], rec)
			}
		case *format.DiskCompletion:
			for _, q := range flight[rec.ID] {
				if rec.Status == 0 {
					put(q)
				}
			}
			delete(flight, rec.ID)
		}
	}
}

// Whatever is dropped, and whatever the guest writes while the recorder reads
// back, the tape gives the device in the end, and says which parts were uncertain.
func TestTapeEqualsDeviceWhateverIsDropped(t *testing.T) {
	total := 0
	for seed := range int64(12) {
		m := &machine{rng: rand.New(rand.NewSource(seed)), left: 600, calm: 400 + int(seed%4)*65, disk: make([]byte, 3*chunkSize+512*7), marks: map[uint64]bool{}}
		m.rng.Read(m.disk)
		m.clock.Store(1e9)
		rebuilt := bytes.Clone(m.disk)
		sink := &recorder{}
		s := New(Config{Clock: m, NoBase: true})
		s.probe, s.sink, s.stream, s.dev = m, sink, 3, &device{size: uint64(len(m.disk))}
		ctx, cancel := context.WithCancel(t.Context())
		r := newRun(s, m)
		s.c.Settle = 1000 * time.Hour // of the model's time
		go func() {
			for m.remaining() > 0 {
				runtime.Gosched()
			}
			cancel()
		}()
		require.NoError(t, r.record(ctx))
		require.NoError(t, r.finish())
		apply(rebuilt, sink.records)
		for off := 0; off < len(rebuilt); off += 512 {
			end := min(off+512, len(rebuilt))
			require.True(t, bytes.Equal(m.disk[off:end], rebuilt[off:end]), "seed %d: sector %d", seed, off/512)
		}
		gaps, readBack := 0, 0
		for _, rec := range sink.records {
			switch rec := rec.(type) {
			case *format.Gap:
				gaps++
			case *format.DiskRequest:
				if rec.Flags&format.DiskReadback != 0 {
					readBack++
				}
			}
		}
		total += min(gaps, readBack)
	}
	require.Positive(t, total, "nothing was dropped and read back")
}

func (m *machine) remaining() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left
}

// What was read back is written after every event up to the end of the read.
func TestReadBackWaitsForEvents(t *testing.T) {
	m := &machine{disk: make([]byte, chunkSize)}
	m.clock.Store(1000)
	sink := &recorder{}
	s := New(Config{Clock: m})
	s.sink, s.stream, s.dev = sink, 3, &device{size: chunkSize}
	r := newRun(s, m)
	defer close(r.jobs)
	r.resync.begin(0, 1000)
	r.resync.result = &chunkRead{t0: 2000, t1: 5000, data: make([]byte, chunkSize)}
	for _, c := range []struct {
		event int64
		idle  bool
		now   int64
		write bool
	}{
		{event: 4000, now: 9000}, {event: 6000, now: 9000}, {idle: true, now: 4999}, {idle: true, now: 5001, write: true},
	} {
		r.event.Time = c.event
		require.NoError(t, r.readBacks(c.idle, c.now))
		require.Equal(t, c.write, len(sink.records) > 0, "%+v", c)
	}
}

// A recorder that is far behind meets requests that ended long ago. Their completions
// are in the ring: they are no lost ones, of which the disk would have to be read.
func TestRecorderThatIsBehindKeepsCompletions(t *testing.T) {
	m := &machine{rng: rand.New(rand.NewSource(1)), disk: make([]byte, chunkSize), marks: map[uint64]bool{}}
	m.clock.Store(1e12)
	sink := &recorder{}
	s := New(Config{Clock: m, NoBase: true})
	s.probe, s.sink, s.stream, s.dev = m, sink, 3, &device{size: chunkSize}
	r := newRun(s, m)
	ended := func() (n int) {
		for _, rec := range sink.records {
			if _, ok := rec.(*format.DiskCompletion); ok {
				n++
			}
		}
		return n
	}
	begun := m.Now()
	for id := range uint64(3) {
		at := begun + int64(id)*1e6
		m.ring = append(m.ring, *request(id+1, format.DiskDiscard, at, id*8, 4096))
	}
	for id := range uint64(2) { // the end of the third is lost
		m.ring = append(m.ring, *completion(id+1, begun+4e6+int64(id)*6e9, format.DiskDiscard, 0))
	}
	for range 5 {
		m.clock.Add(10e9) // so each step does what is due
		_, err := r.step(time.Time{})
		require.NoError(t, err)
	}
	require.Equal(t, 2, ended())
	require.Len(t, r.order.flying, 1)
	for range 4 {
		m.clock.Add(1e9)
		idle, err := r.step(time.Time{})
		require.NoError(t, err)
		require.True(t, idle)
	}
	require.Empty(t, r.order.flying)
	require.NoError(t, r.finish())
	require.Equal(t, 2, ended())
}
