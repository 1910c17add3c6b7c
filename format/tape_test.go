package format

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// fixedRand makes tapes reproducible.
func fixedRand() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1}) }

func testPage(seed uint64) []byte {
	b := make([]byte, PageSize)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := 0; i < PageSize; i += 16 {
		b[i] = byte(r.Uint32())
		b[i+1] = byte(r.Uint32())
	}
	b[0] |= 1
	return b
}

// sampleTape writes one of everything and returns the records in order.
func sampleTape(t testing.TB, o WriterOptions, seal bool) ([]byte, []Record) {
	t.Helper()
	var out bytes.Buffer
	o.Rand = fixedRand()
	o.Producer = "test"
	o.Start = Anchor{Stamp: Stamp{Time: 5}, BootID: [16]byte{1, 2}, Realtime: 1e18}
	w, err := NewWriter(&out, o)
	require.NoError(t, err)
	var recs []Record
	mem := define(t, w, &recs, StreamDef{Kind: StreamMemory, Name: "memory", Domain: [16]byte{9}, Size: 64 * PageSize})
	dsk := define(t, w, &recs, StreamDef{Kind: StreamDisk, Name: "xvda", Size: 1 << 30, Attrs: []Attr{{"device", "51712"}}})
	net := define(t, w, &recs, StreamDef{Kind: StreamNetwork, Name: "vif0"})
	put := func(r Record) {
		require.NoError(t, w.Write(r))
		recs = append(recs, r)
	}
	put(&Anchor{Stamp: Stamp{Time: 6}, Realtime: 77, Stepped: true, XenSystem: -5})
	for i := range 40 {
		put(&Packet{Stamp: Stamp{Time: int64(10 + i), Stream: net}, LinkType: 1, Direction: FromGuest, OrigLen: 60, Data: testPage(uint64(i))[:60+i]})
		put(&DiskRequest{Stamp: Stamp{Time: int64(10 + i), Stream: dsk}, ID: uint64(i), Op: DiskWrite, Flags: DiskFUA, Offset: 4096 * uint64(i), Length: 512, Data: testPage(uint64(i))[:512]})
		put(&DiskCompletion{Stamp: Stamp{Time: int64(11 + i), Stream: dsk}, ID: uint64(i), Status: -int32(i)})
	}
	first := writeSnapshot(t, w, &recs, SnapshotBegin{Stamp: Stamp{Time: 60, Stream: mem}, Pages: 64}, func(s *SnapshotWriter) {
		for n := uint64(0); n < 20; n++ {
			require.NoError(t, s.Page(n, testPage(1000+n)))
		}
		require.NoError(t, s.Page(20, make([]byte, PageSize)))
		require.NoError(t, s.State(Extent{30, 4}, PageBallooned))
		require.NoError(t, s.State(Extent{40, 1}, PageUnreadable))
		require.NoError(t, s.Page(3, testPage(1004)))
		put(&Attachment{Stamp: Stamp{Time: 61, Stream: mem}, Snapshot: s.ID(), Name: "xen/vcpu/0", Data: bytes.Repeat([]byte("vcpu"), 3000)})
	})
	put(&Gap{Stamp: Stamp{Time: 70, Stream: net}, From: 60, To: 70, Reason: GapOverflow, Count: 12, Detail: "ring full"})
	put(&Packet{Stamp: Stamp{Time: 71, Stream: net, Uncertainty: 9}, LinkType: 1, VNet: &VirtioNet{Flags: 1, GSOSize: 1448}, Comment: "c", Data: []byte{1}})
	writeSnapshot(t, w, &recs, SnapshotBegin{Stamp: Stamp{Time: 80, Stream: mem}, Parent: first, Pages: 64}, func(s *SnapshotWriter) {
		p := testPage(1005)
		p[100] ^= 0xff
		require.NoError(t, s.Page(5, p))
		require.NoError(t, s.Page(0, testPage(1000)))
		require.NoError(t, s.State(Extent{7, 2}, PageZero))
		require.NoError(t, s.Page(50, testPage(3000)))
	})
	put(&Event{Stamp: Stamp{Time: 90}, Kind: "trigger", Attrs: []Attr{{"by", "operator"}}})
	put(&Mark{Stamp: Stamp{Time: 91, Stream: dsk}, Text: "cp0001"})
	if seal {
		require.NoError(t, w.Seal())
	}
	require.NoError(t, w.Close())
	return out.Bytes(), recs
}

func define(t testing.TB, w *Writer, recs *[]Record, d StreamDef) StreamID {
	id, err := w.DefineStream(d)
	require.NoError(t, err)
	d.ID, d.Stream, d.Seq = id, id, uint64(len(*recs)+1)
	*recs = append(*recs, &d)
	return id
}

func writeSnapshot(t testing.TB, w *Writer, recs *[]Record, b SnapshotBegin, fill func(*SnapshotWriter)) uint32 {
	s, err := w.BeginSnapshot(b)
	require.NoError(t, err)
	b.ID, b.Seq = s.ID(), uint64(len(*recs)+1)
	*recs = append(*recs, &b)
	fill(s)
	e := SnapshotEnd{Stamp: Stamp{Time: b.Time + 5, Stream: b.Stream}, Conditions: Conditions{Paused: true, Complete: true, CopyStart: 1, Missed: Unknown, Method: "full"}}
	require.NoError(t, s.End(e))
	e.ID, e.Seq = s.ID(), uint64(len(*recs)+1)
	*recs = append(*recs, &e)
	return s.ID()
}

func collect(t testing.TB, r *Reader, q Query) []Record {
	t.Helper()
	var out []Record
	for rec, err := range r.Records(q) {
		require.NoError(t, err)
		out = append(out, rec)
	}
	return out
}

func openBytes(t testing.TB, b []byte, o ReaderOptions) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(b), int64(len(b)), o)
	require.NoError(t, err)
	return r
}

func TestTapeReturnsWhatWasWritten(t *testing.T) {
	for _, c := range []struct {
		name string
		o    WriterOptions
		seal bool
	}{
		{"sealed", WriterOptions{}, true},
		{"unfinished", WriterOptions{}, false},
		{"small chunks", WriterOptions{ChunkSize: PageSize, CheckpointEvery: 5}, true},
		{"small chunks, unfinished", WriterOptions{ChunkSize: PageSize, CheckpointEvery: 7}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, want := sampleTape(t, c.o, c.seal)
			r := openBytes(t, b, ReaderOptions{})
			require.Empty(t, r.Damage())
			require.Equal(t, c.seal, r.Sealed())
			require.Equal(t, want, collect(t, r, Query{}))
			require.Len(t, r.Streams(), 3)
			require.Equal(t, "xvda", r.Streams()[1].Name)
			require.Len(t, r.Gaps(), 1)
			require.Len(t, r.Anchors(), 2)
			require.Equal(t, uint64(len(want)), r.Settled())
			checkSnapshots(t, r)
		})
	}
}

func checkSnapshots(t *testing.T, r *Reader) {
	t.Helper()
	require.Len(t, r.Snapshots(), 2)
	s, err := r.Snapshot(1)
	require.NoError(t, err)
	expectPage(t, s, 0, PageData, testPage(1000))
	expectPage(t, s, 3, PageData, testPage(1004)) // the later statement
	expectPage(t, s, 20, PageZero, nil)
	expectPage(t, s, 31, PageBallooned, nil)
	expectPage(t, s, 40, PageUnreadable, nil)
	expectPage(t, s, 63, PageAbsent, nil)
	require.Equal(t, []Extent{{0, 21}}, s.Extents())
	require.Equal(t, []string{"xen/vcpu/0"}, s.Attachments())
	a, ok := s.Attachment("xen/vcpu/0")
	require.True(t, ok)
	require.Len(t, a, 12000)
	_, known := s.Changed()
	require.False(t, known)

	s, err = r.Snapshot(2)
	require.NoError(t, err)
	p := testPage(1005)
	p[100] ^= 0xff
	expectPage(t, s, 5, PageData, p)
	expectPage(t, s, 3, PageData, testPage(1004))
	expectPage(t, s, 7, PageZero, nil)
	expectPage(t, s, 50, PageData, testPage(3000))
	changed, known := s.Changed()
	require.True(t, known)
	require.Equal(t, []Extent{{5, 1}, {7, 2}, {50, 1}}, changed)
	require.True(t, s.Info().End.Paused)
}

func expectPage(t *testing.T, s *Snapshot, n uint64, st PageState, data []byte) {
	t.Helper()
	buf := bytes.Repeat([]byte{0xaa}, PageSize)
	got, err := s.ReadPage(n, buf)
	require.NoError(t, err)
	require.Equal(t, st, got)
	if data == nil {
		data = make([]byte, PageSize)
	}
	require.Equal(t, data, buf)
}

func TestTapeDoesNotDependOnWorkers(t *testing.T) {
	one, _ := sampleTape(t, WriterOptions{Workers: 1, ChunkSize: PageSize}, true)
	for _, n := range []int{2, 8} {
		b, _ := sampleTape(t, WriterOptions{Workers: n, ChunkSize: PageSize}, true)
		require.True(t, bytes.Equal(one, b), "%d workers", n)
	}
}

func TestQuerySelects(t *testing.T) {
	b, all := sampleTape(t, WriterOptions{ChunkSize: PageSize}, true)
	r := openBytes(t, b, ReaderOptions{})
	for _, c := range []struct {
		name string
		q    Query
		keep func(Record) bool
	}{
		{"stream", Query{Streams: []StreamID{3}}, func(r Record) bool { return r.Header().Stream == 3 }},
		{"kind", Query{Kinds: []StreamKind{StreamDisk}}, func(r Record) bool { return r.Header().Stream == 2 }},
		{"time", Query{FromTime: 20, ToTime: 30}, func(r Record) bool { return r.Header().Time >= 20 && r.Header().Time <= 30 }},
		{"sequence", Query{FromSeq: 17, ToSeq: 71}, func(r Record) bool { return r.Header().Seq >= 17 && r.Header().Seq <= 71 }},
		{"type", Query{Types: []RecordType{TypeGap, TypeMark}}, func(r Record) bool { return TypeOf(r) == TypeGap || TypeOf(r) == TypeMark }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []Record
			for _, r := range all {
				if c.keep(r) {
					want = append(want, r)
				}
			}
			require.NotEmpty(t, want)
			require.Equal(t, want, collect(t, r, c.q))
		})
	}
}
