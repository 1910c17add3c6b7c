package format

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is what snapshots should be, kept page by page.
type model struct {
	pages  map[uint64][]byte
	states map[uint64]PageState
}

func (m *model) clone() *model {
	c := &model{map[uint64][]byte{}, map[uint64]PageState{}}
	for k, v := range m.pages {
		c.pages[k] = v
	}
	for k, v := range m.states {
		c.states[k] = v
	}
	return c
}

const modelPages = 40

// modelTape writes random snapshots, one on another or on none, of two streams
// at once, and returns what each should be.
func modelTape(t testing.TB, seed uint64, o WriterOptions, seal bool) ([]byte, map[uint32]*model) {
	rng := rand.New(rand.NewPCG(seed, 1))
	o.Rand = fixedRand()
	var out bytes.Buffer
	w, err := NewWriter(&out, o)
	require.NoError(t, err)
	want := map[uint32]*model{}
	var streams [2]StreamID
	for i := range streams {
		streams[i], err = w.DefineStream(StreamDef{Kind: StreamMemory, Name: fmt.Sprint(i)})
		require.NoError(t, err)
	}
	last := map[StreamID]uint32{}
	for range 4 {
		var open [2]*SnapshotWriter
		for i, id := range streams {
			parent := last[id]
			if rng.IntN(5) == 0 {
				parent = 0
			}
			open[i], err = w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: id}, Parent: parent, Pages: modelPages})
			require.NoError(t, err)
			want[open[i].ID()] = &model{map[uint64][]byte{}, map[uint64]PageState{}}
			if parent != 0 {
				want[open[i].ID()] = want[parent].clone()
			}
		}
		for range 60 {
			s := open[rng.IntN(2)]
			stateAtRandom(t, rng, s, want[s.ID()])
			if rng.IntN(20) == 0 {
				require.NoError(t, w.Flush())
			}
		}
		for i, s := range open {
			last[streams[i]] = s.ID()
			if !seal && s.ID() > 6 {
				continue // the last two are not finished
			}
			require.NoError(t, s.End(SnapshotEnd{}))
		}
	}
	if seal {
		require.NoError(t, w.Seal())
	}
	require.NoError(t, w.Close())
	return out.Bytes(), want
}

func stateAtRandom(t testing.TB, rng *rand.Rand, s *SnapshotWriter, m *model) {
	n := uint64(rng.IntN(modelPages))
	switch rng.IntN(6) {
	case 0:
		e := Extent{n, uint64(rng.IntN(modelPages-int(n))) + 1}
		st := []PageState{PageAbsent, PageZero, PageBallooned, PageUnreadable, PageMissing, PageDevice}[rng.IntN(6)]
		require.NoError(t, s.State(e, st))
		for k := e.Start; k < e.Start+e.Count; k++ {
			m.states[k] = st
			delete(m.pages, k)
		}
	case 1: // a page there was, a little changed
		p := bytes.Repeat([]byte{byte(rng.IntN(20)) + 1}, PageSize)
		if old := m.pages[n]; old != nil {
			p = bytes.Clone(old)
		}
		p[rng.IntN(PageSize)]++
		require.NoError(t, s.Page(n, p))
		m.pages[n], m.states[n] = p, PageData
	default:
		p := bytes.Repeat([]byte{byte(rng.IntN(20)) + 1}, PageSize)
		require.NoError(t, s.Page(n, p))
		m.pages[n], m.states[n] = p, PageData
	}
}

// compare reads all snapshots; a page may be an error when lost allows it.
func compare(t testing.TB, b []byte, want map[uint32]*model, finished func(id uint32) bool, lost bool) (wrong, errs int) {
	r, err := Open(bytes.NewReader(b), int64(len(b)), ReaderOptions{MaxMemory: 40000})
	require.NoError(t, err)
	buf := make([]byte, PageSize)
	for id, m := range want {
		s, err := r.Snapshot(id)
		if err != nil {
			require.True(t, lost && errors.Is(err, ErrNoSnapshot), "%v", err)
			continue
		}
		for n := range uint64(modelPages) {
			st, err := s.ReadPage(n, buf)
			if err != nil {
				errs++
				continue
			}
			exp := m.pages[n]
			if exp == nil {
				exp = zeroPage[:]
			}
			if st != m.states[n] || !bytes.Equal(buf, exp) {
				wrong++
				t.Logf("snapshot %d page %d: state %d, want %d", id, n, st, m.states[n])
			}
		}
	}
	return wrong, errs
}

// TestSnapshotsAreAsStated compares random images with a model of them; then
// damages each chunk in turn, body and header: a page is right or an error.
func TestSnapshotsAreAsStated(t *testing.T) {
	seeds := 3
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		for _, seal := range []bool{true, false} {
			o := WriterOptions{ChunkSize: 2 * PageSize, CheckpointEvery: 30, Workers: 2}
			if seed%2 == 1 {
				o.DedupePages, o.DeltaMemory = 10, 10*PageSize
			}
			b, want := modelTape(t, uint64(seed), o, seal)
			finished := func(id uint32) bool { return seal || id <= 6 }
			wrong, errs := compare(t, b, want, finished, false)
			require.Zero(t, wrong)
			if seal {
				require.Zero(t, errs)
			}
			ref := openBytes(t, b, ReaderOptions{})
			require.Empty(t, ref.Damage())
			for _, c := range ref.chunks {
				for _, at := range []int64{c.off + 5, c.end() - 9} {
					b[at] ^= 0x40
					wrong, _ := compare(t, b, want, finished, true)
					b[at] ^= 0x40
					// In a snapshot that was not finished an earlier statement may
					// stand for one that its last chunk, lost, would have made.
					if wrong > 0 && (seal || c.end() < int64(len(b))-1 && c.head.Type != chunkPages) {
						t.Fatalf("seed %d: damage in %s chunk %d: %d wrong pages", seed, c.head.Type, c.head.Number, wrong)
					}
				}
			}
		}
	}
}

// TestPagesAreStoredOnce measures what the store is for.
func TestPagesAreStoredOnce(t *testing.T) {
	size := func(o WriterOptions, changed int) int {
		var out bytes.Buffer
		o.Rand = fixedRand()
		w, err := NewWriter(&out, o)
		require.NoError(t, err)
		id, err := w.DefineStream(StreamDef{Kind: StreamMemory})
		require.NoError(t, err)
		noise := make([]byte, 64*PageSize)
		_, _ = rand.NewChaCha8([32]byte{8}).Read(noise)
		for snap := range uint32(3) {
			s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: id}, Parent: snap, Pages: 200})
			require.NoError(t, err)
			for n := range 64 {
				p := noise[n*PageSize:][:PageSize]
				for i := range changed {
					p[i*9+int(snap)]++
				}
				require.NoError(t, s.Page(uint64(n), p))
				require.NoError(t, s.Page(uint64(n+100), p)) // twice in the image
			}
			require.NoError(t, s.End(SnapshotEnd{}))
		}
		require.NoError(t, w.Seal())
		return out.Len()
	}
	once := 64 * PageSize
	require.Less(t, size(WriterOptions{}, 0), once*11/10, "three equal images of pages that come twice")
	require.Less(t, size(WriterOptions{}, 8), once*12/10, "small changes are stored as differences")
	require.Greater(t, size(WriterOptions{DeltaMemory: -1}, 8), once*28/10, "without the memory to tell differences they are not")
}

// failingFile fails after some bytes.
type failingFile struct {
	bytes.Buffer
	left int
}

var errDisk = errors.New("no space left on device")

func (f *failingFile) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n, _ := f.Buffer.Write(p[:f.left])
		f.left = 0
		return n, errDisk
	}
	f.left -= len(p)
	return f.Buffer.Write(p)
}

// TestWriterTellsThatItsFileFailed: every call after the failure returns it,
// none hangs, and what is in the file can be read.
func TestWriterTellsThatItsFileFailed(t *testing.T) {
	for _, left := range []int{0, 7, 100, 400, 2000, 30000} {
		f := &failingFile{left: left}
		w, err := NewWriter(f, WriterOptions{ChunkSize: PageSize, Rand: fixedRand(), CheckpointEvery: 5})
		if err != nil {
			require.ErrorIs(t, err, errDisk)
			continue
		}
		var first error
		for i := range 200 {
			if err := w.Write(&Mark{Stamp: Stamp{Time: int64(i)}, Text: string(testPage(uint64(i)))}); err != nil {
				first = err
				break
			}
		}
		require.ErrorIs(t, errors.Join(first, w.Flush()), errDisk)
		require.ErrorIs(t, w.Write(&Mark{}), errDisk)
		_, err = w.DefineStream(StreamDef{})
		require.ErrorIs(t, err, errDisk)
		require.ErrorIs(t, w.Seal(), errDisk)
		require.ErrorIs(t, w.Flush(), ErrClosed)
		if left < 400 {
			continue
		}
		r := openBytes(t, f.Bytes(), ReaderOptions{})
		next := uint64(1)
		for rec, err := range r.Records(Query{}) {
			require.NoError(t, err)
			require.Equal(t, next, rec.Header().Seq)
			next++
		}
	}
}

// countingReader counts what is read of a tape.
type countingReader struct {
	io.ReaderAt
	bytes int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.ReaderAt.ReadAt(p, off)
}

// TestSeekReadsLittle: finding a moment and a stream in a long tape reads the
// indexes and a few chunks.
func TestSeekReadsLittle(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Rand: fixedRand(), ChunkSize: 64 << 10})
	require.NoError(t, err)
	dsk, err := w.DefineStream(StreamDef{Kind: StreamDisk})
	require.NoError(t, err)
	net, err := w.DefineStream(StreamDef{Kind: StreamNetwork})
	require.NoError(t, err)
	noise := make([]byte, 32<<20)
	_, _ = rand.NewChaCha8([32]byte{8}).Read(noise)
	for i := range len(noise) >> 12 { // 8192 writes
		require.NoError(t, w.Write(&DiskRequest{Stamp: Stamp{Stream: dsk, Time: int64(i)}, Op: DiskWrite, Data: noise[i<<12:][:4096]}))
		if i%100 == 50 {
			require.NoError(t, w.Write(&Packet{Stamp: Stamp{Stream: net, Time: int64(i)}, Data: noise[i<<12:][:60]}))
		}
	}
	require.NoError(t, w.Seal())
	src := &countingReader{ReaderAt: bytes.NewReader(out.Bytes())}
	r, err := Open(src, int64(out.Len()), ReaderOptions{})
	require.NoError(t, err)
	opened := src.bytes
	require.Less(t, opened, int64(out.Len())/100, "to open")
	n := 0
	for rec, err := range r.Records(Query{Kinds: []StreamKind{StreamDisk}, FromTime: 4000, ToTime: 4003}) {
		require.NoError(t, err)
		require.Equal(t, noise[rec.Header().Time<<12:][:4096], rec.(*DiskRequest).Data)
		n++
	}
	require.Equal(t, 4, n)
	require.Less(t, src.bytes-opened, int64(3*70<<10), "to seek")
	before := src.bytes
	n = 0
	for _, err := range r.Records(Query{Streams: []StreamID{net}, Types: []RecordType{TypePacket}}) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 82, n) // one in a hundred of 8192
	require.Less(t, src.bytes-before, int64(out.Len())/50, "packets cost no disk writes")
}
