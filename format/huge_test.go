package format

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// sparse is a file of which only some parts are there: those written. It counts
// what is read; reading what is not there gives zeros, which are no chunk.
type sparse struct {
	size         int64
	offs         []int64
	parts        [][]byte
	calls, bytes atomic.Int64
}

func (s *sparse) Write(p []byte) (int, error) {
	s.offs, s.parts = append(s.offs, s.size), append(s.parts, bytes.Clone(p))
	s.size += int64(len(p))
	return len(p), nil
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	s.calls.Add(1)
	s.bytes.Add(int64(len(p)))
	clear(p)
	i, found := slices.BinarySearch(s.offs, off)
	if !found {
		i--
	}
	for ; i >= 0 && i < len(s.offs) && s.offs[i] < off+int64(len(p)); i++ {
		switch d := s.offs[i] - off; {
		case d >= 0:
			copy(p[d:], s.parts[i])
		case -d < int64(len(s.parts[i])):
			copy(p, s.parts[i][-d:])
		}
	}
	if off+int64(len(p)) > s.size {
		return int(max(s.size-off, 0)), io.EOF
	}
	return len(p), nil
}

const (
	hugeChunks = 51200 // of a mebibyte
	hugeEach   = 16    // packets in each, a second of them
	hugeReal   = 512   // every how many chunks is one that is there
)

// hugeTape is a complete tape of 50 GB of packets, of which hugeChunks/hugeReal
// chunks are really there, and the rest is only in the index, the tree and the
// sequence.
func hugeTape(t *testing.T) *sparse {
	out := &sparse{}
	enc, err := newEncoder()
	require.NoError(t, err)
	h := FileHeader{Major: Major, Minor: Minor, TapeID: [16]byte{7}, Producer: "huge"}
	e := &emitter{w: out, packer: packer{enc: enc}, header: h, offset: int64(len(Magic))}
	_, _ = io.WriteString(out, Magic)
	number := uint64(0)
	emit := func(d *draft) {
		number++
		d.head.Number, d.head.Tape = number, h.TapeID
		if d.build == nil {
			e.pack(d)
			d.done = make(chan struct{})
			close(d.done)
		}
		e.emit(d)
		require.NoError(t, e.failed())
	}
	lanes := func(typ chunkType, kind StreamKind, seq uint64, recs ...Record) {
		l := &lane{kind: kind}
		for _, r := range recs {
			b, err := AppendRecord(nil, r)
			require.NoError(t, err)
			l.add(b, r.Header(), TypeOf(r), StreamNetwork, true)
		}
		emit(l.take(typ, seq, [saltSize]byte{1}))
	}
	for range 2 {
		emit(&draft{head: chunkHead{Type: chunkHeader}, plain: h.append(nil)})
	}
	def := &StreamDef{Stamp: Stamp{Seq: 1, Stream: 1}, ID: 1, Kind: StreamNetwork, Name: "vif0"}
	lanes(chunkRecords, StreamTape, 1, def)
	rng := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, 64<<10)
	for n := range uint64(hugeChunks) {
		first := 2 + n*hugeEach
		if n%hugeReal == 9 {
			var recs []Record
			for i := range uint64(hugeEach) {
				for k := 0; k < len(data); k += 8 {
					data[k] = byte(rng.Uint64())
				}
				recs = append(recs, &Packet{Stamp: Stamp{Seq: first + i, Time: int64(n) * 1e9, Stream: 1}, Data: bytes.Clone(data)})
			}
			lanes(chunkRecords, StreamNetwork, first+hugeEach-1, recs...)
		} else {
			m := recordsMeta{
				bodyMeta: bodyMeta{Codec: codecZstd}, Lane: StreamNetwork, Count: hugeEach, FirstSeq: first, LastSeq: first + hugeEach - 1, Settled: first + hugeEach - 1,
				MinTime: int64(n) * 1e9, MaxTime: int64(n) * 1e9, Types: 1 << TypePacket, Streams: []streamCount{{ID: 1, Kind: StreamNetwork, Count: hugeEach}},
			}
			number++
			c := chunkHead{Type: chunkRecords, Tape: h.TapeID, Number: number, Stored: 1 << 20, Size: 1<<20 + 400, Meta: m.append(nil)}
			e.fresh = append(e.fresh, indexEntry{Offset: e.offset, Head: c})
			e.tree.add([32]byte{})
			e.offset += c.length()
			out.size = e.offset
		}
		if n%256 == 255 {
			lanes(chunkRepeat, StreamTape, first, def)
			emit(&draft{head: chunkHead{Type: chunkIndex}, build: (*emitter).buildIndex})
			emit(&draft{head: chunkHead{Type: chunkCheckpoint}, build: (*emitter).buildCheckpoint})
		}
	}
	emit(&draft{head: chunkHead{Type: chunkIndex}, build: (*emitter).buildIndex})
	emit(&draft{head: chunkHead{Type: chunkFooter}, build: func(e *emitter, d *draft) error { return e.buildFooter(d, 1+hugeChunks*hugeEach) }})
	return out
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFiftyGigabytesAreOpenedByTheIndex: opening a tape of 50 GB reads its
// indexes, and going to a moment the chunk of that moment. That nothing else is
// read shows in that nothing else is there.
func TestFiftyGigabytesAreOpenedByTheIndex(t *testing.T) {
	src := hugeTape(t)
	require.Greater(t, src.size, int64(50e9))
	before := heap()
	r, err := Open(src, src.size, ReaderOptions{})
	require.NoError(t, err)
	require.Empty(t, r.Damage())
	require.True(t, r.Sealed())
	kept := heap() - before
	t.Logf("open %d bytes: %d reads, %d bytes read, %d bytes kept", src.size, src.calls.Load(), src.bytes.Load(), kept)
	require.Less(t, src.bytes.Load(), src.size/1000)
	require.Less(t, src.calls.Load(), int64(5*hugeChunks/256+100))
	require.Less(t, kept, int64(64<<20))
	for n := int64(9); n < hugeChunks; n += 5 * hugeReal {
		src.calls.Store(0)
		src.bytes.Store(0)
		got := 0
		for rec, err := range r.Records(Query{FromTime: n * 1e9, ToTime: n*1e9 + 5e8}) {
			require.NoError(t, err)
			require.Equal(t, n*1e9, rec.Header().Time)
			got++
		}
		require.Equal(t, hugeEach, got)
		require.LessOrEqual(t, src.calls.Load(), int64(4), "second %d", n)
		require.Less(t, src.bytes.Load(), int64(2<<20), "second %d", n)
	}
	// And where there is nothing behind the index, that is told.
	for _, err := range r.Records(Query{FromTime: 100e9, ToTime: 100e9}) {
		require.Error(t, err)
	}
}

// watchedDisk keeps nothing and watches the heap.
type watchedDisk struct {
	base, peak, written int64
}

func (d *watchedDisk) Write(p []byte) (int, error) {
	d.written += int64(len(p))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	d.peak = max(d.peak, int64(m.HeapInuse)-d.base)
	return len(p), nil
}

// writeNoise writes a snapshot of pages that do not compress.
func writeNoise(t *testing.T, out io.Writer, pages int) {
	w, err := NewWriter(out, WriterOptions{Workers: 2, DeltaMemory: -1, DedupePages: 1 << 12})
	require.NoError(t, err)
	mem, err := w.DefineStream(StreamDef{Kind: StreamMemory})
	require.NoError(t, err)
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: mem}, Pages: uint64(pages)})
	require.NoError(t, err)
	random := rand.NewChaCha8([32]byte{1})
	buf, numbers := make([]byte, 64*PageSize), make([]uint64, 64)
	for n := 0; n < pages; n += len(numbers) {
		_, _ = random.Read(buf)
		for i := range numbers {
			numbers[i] = uint64(n + i)
		}
		require.NoError(t, s.Pages(numbers, buf))
	}
	require.NoError(t, s.End(SnapshotEnd{}))
	require.NoError(t, w.Seal())
}

// TestMemoryIsBoundedByChunksAndWorkers: what a Writer and a Reader hold does not
// grow with the tape.
func TestMemoryIsBoundedByChunksAndWorkers(t *testing.T) {
	const chunk = 1 << 20
	disk := &watchedDisk{base: heap()}
	writeNoise(t, disk, 40<<10)
	t.Logf("Writer: %d MiB written, at most %d MiB of heap", disk.written>>20, disk.peak>>20)
	require.Greater(t, disk.written, int64(160*chunk))
	require.Less(t, disk.peak, int64(64*chunk))

	tape := &sparse{}
	writeNoise(t, tape, 10<<10)
	base := heap()
	r, err := Open(tape, tape.size, ReaderOptions{MaxMemory: 4 * chunk})
	require.NoError(t, err)
	snap, err := r.Snapshot(1)
	require.NoError(t, err)
	page := make([]byte, PageSize)
	var kept int64
	for n := range uint64(10 << 10) {
		_, err := snap.ReadPage(n, page)
		require.NoError(t, err)
		if n%1000 == 999 {
			kept = max(kept, heap()-base)
		}
	}
	t.Logf("Reader: %d MiB read, at most %d KiB kept", tape.size>>20, kept>>10)
	require.Less(t, kept, int64(8*chunk))
	runtime.KeepAlive(r)
}
