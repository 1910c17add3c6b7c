package format

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// tinyTape is small enough to be damaged in every possible way: all kinds of
// chunks, two snapshots of which one builds on the other, an attachment in parts.
func tinyTape(t testing.TB, seal bool, every int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Rand: fixedRand(), ChunkSize: PageSize, CheckpointEvery: every, Workers: 1, Signer: testSigner(t)})
	require.NoError(t, err)
	mem, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	net, err := w.DefineStream(StreamDef{Kind: StreamNetwork, Name: "vif0"})
	require.NoError(t, err)
	put := func(r Record) { require.NoError(t, w.Write(r)) }
	put(&Anchor{Stamp: Stamp{Time: 1}, Realtime: 99})
	for i := range 6 {
		put(&Packet{Stamp: Stamp{Time: int64(i), Stream: net}, Data: []byte(fmt.Sprintf("packet %d", i))})
		if i == 3 {
			require.NoError(t, w.Flush())
		}
	}
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Time: 10, Stream: mem}, Pages: 16})
	require.NoError(t, err)
	for n := range uint64(4) {
		require.NoError(t, s.Page(n, bytes.Repeat([]byte{byte(n + 1)}, PageSize)))
	}
	put(&Attachment{Stamp: Stamp{Time: 11, Stream: mem}, Snapshot: s.ID(), Name: "a", Data: bytes.Repeat([]byte{7}, 5000)})
	require.NoError(t, s.State(Extent{8, 2}, PageBallooned))
	require.NoError(t, s.Page(1, bytes.Repeat([]byte{9}, PageSize)))
	require.NoError(t, s.End(SnapshotEnd{Stamp: Stamp{Time: 12, Stream: mem}}))
	s, err = w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Time: 20, Stream: mem}, Parent: 1, Pages: 16})
	require.NoError(t, err)
	p := bytes.Repeat([]byte{3}, PageSize)
	p[9] = 0
	require.NoError(t, s.Page(2, p))
	require.NoError(t, s.State(Extent{3, 1}, PageZero))
	require.NoError(t, s.End(SnapshotEnd{Stamp: Stamp{Time: 22, Stream: mem}}))
	put(&Gap{Stamp: Stamp{Time: 23, Stream: net}, From: 20, To: 23, Reason: GapBudget, Count: 2})
	put(&Mark{Stamp: Stamp{Time: 24}, Text: "end"})
	if seal {
		require.NoError(t, w.Seal())
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func testSigner(t testing.TB) *SigningKey {
	k, err := NewSigningKey(fixedRand())
	require.NoError(t, err)
	return k
}

var pageSeed = maphash.MakeSeed()

func hashPage(page []byte, st PageState) uint64 {
	return maphash.Bytes(pageSeed, append(page[:PageSize:PageSize], byte(st)))
}

// reading is everything a tape gives.
type reading struct {
	records map[uint64]string
	pages   map[[2]uint64]uint64 // by snapshot and page: hash of state and content; absent when unreadable
	pageErr map[[2]uint64]bool
	damage  int
}

// mayBeSealed: a tape that says that it is sealed, or no longer says, may want keys
// that nobody has. No tape that is only damaged comes to say so.
func mayBeSealed(r *Reader, err error) bool {
	return errors.Is(err, ErrNoKey) && (r.Encrypted() || r.headless)
}

func readEverything(t testing.TB, b []byte) (*Reader, *reading, error) {
	r, err := Open(bytes.NewReader(b), int64(len(b)), ReaderOptions{})
	if err != nil {
		return nil, nil, err
	}
	out := &reading{records: map[uint64]string{}, pages: map[[2]uint64]uint64{}, pageErr: map[[2]uint64]bool{}}
	last := uint64(0)
	for rec, err := range r.Records(Query{}) {
		if err != nil {
			var d *Damage
			require.True(t, errors.As(err, &d) || mayBeSealed(r, err), "%v", err)
			continue
		}
		seq := rec.Header().Seq
		if seq <= last {
			t.Errorf("record %d after %d", seq, last)
		}
		last = seq
		enc, err := AppendRecord(nil, rec)
		require.NoError(t, err)
		out.records[seq] = string(enc)
	}
	buf := make([]byte, PageSize, PageSize+1)
	for _, info := range r.Snapshots() {
		s, err := r.Snapshot(info.Begin.ID)
		if mayBeSealed(r, err) {
			continue
		}
		require.NoError(t, err)
		for n := range uint64(16) {
			k := [2]uint64{uint64(info.Begin.ID), n}
			st, err := s.ReadPage(n, buf)
			if err != nil {
				if st != PageMissing || !IsZero(buf) {
					t.Errorf("page %v: state %d with error %v", k, st, err)
				}
				out.pageErr[k] = true
				continue
			}
			out.pages[k] = hashPage(buf, st)
		}
	}
	out.damage = len(r.Damage())
	return r, out, nil
}

// chunkOf tells which chunk each record and each byte of a tape is in.
func chunkOf(t testing.TB, r *Reader) (bySeq map[uint64][]uint64) {
	bySeq = map[uint64][]uint64{}
	for _, c := range r.chunks {
		if c.head.Type != chunkRecords {
			continue
		}
		b, err := r.body(c)
		require.NoError(t, err)
		require.NoError(t, r.eachRecord(c, b, func(rec Record, _ []byte) bool {
			bySeq[rec.Header().Seq] = append(bySeq[rec.Header().Seq], c.head.Number)
			return true
		}))
	}
	return bySeq
}

func chunkAt(r *Reader, off int64) *chunkInfo {
	for _, c := range r.chunks {
		if off >= c.off && off < c.end() {
			return c
		}
	}
	return nil
}

// TestEveryBitFlip flips every bit of small tapes: what comes back is what was
// written, nothing is lost but the chunk the bit is in, and the flip is seen.
func TestEveryBitFlip(t *testing.T) {
	for i, c := range []struct {
		name  string
		seal  bool
		every int
	}{{"sealed", true, 1000}, {"checkpoints", true, 12}, {"unfinished", false, 1000}, {"unfinished with index", false, 12}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := tinyTape(t, c.seal, c.every)
			ref, want, err := readEverything(t, b)
			require.NoError(t, err)
			require.Empty(t, ref.Damage())
			require.Empty(t, want.pageErr)
			where := chunkOf(t, ref)
			step := 1
			if i > 0 {
				step = 13 // prime to 8: over 13 bytes every bit has its turn
			}
			if testing.Short() {
				step = 211
			}
			for bit := 0; bit < 8*len(b); bit += step {
				b[bit/8] ^= 1 << (bit % 8)
				checkFlip(t, b, int64(bit/8), ref, want, where)
				b[bit/8] ^= 1 << (bit % 8)
				if t.Failed() {
					t.Fatalf("bit %d of byte %d (%+v)", bit%8, bit/8, chunkAt(ref, int64(bit/8)))
				}
			}
			t.Logf("%d bits of %d bytes", 8*len(b)/step, len(b))
		})
	}
}

func checkFlip(t *testing.T, b []byte, at int64, ref *Reader, want *reading, where map[uint64][]uint64) {
	t.Helper()
	hit := chunkAt(ref, at)
	r, got, err := readEverything(t, b)
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	for seq, enc := range want.records {
		g, ok := got.records[seq]
		switch {
		case ok && g != enc:
			t.Errorf("record %d: wrong bytes", seq)
		case !ok && (hit == nil || !slices.Contains(where[seq], hit.head.Number)):
			t.Errorf("record %d: lost, and not in the damaged chunk", seq)
		case !ok && got.damage == 0:
			t.Errorf("record %d: lost in silence", seq)
		}
	}
	if len(got.records) > len(want.records) {
		t.Errorf("%d records, %d were written", len(got.records), len(want.records))
	}
	for k, p := range want.pages {
		g, ok := got.pages[k]
		if ok && g != p {
			t.Errorf("page %v: wrong", k)
		}
		if !ok && !got.pageErr[k] {
			t.Errorf("page %v: gone", k)
		}
		if !ok && (hit == nil || hit.head.Type != chunkPages) {
			t.Errorf("page %v: lost, and the damage is in a %v chunk", k, hit)
		}
	}
	if ref.Sealed() {
		if !slices.EqualFunc(r.Streams(), ref.Streams(), func(a, b StreamDef) bool { return a.Name == b.Name && a.Seq == b.Seq }) {
			t.Errorf("streams: %v", r.Streams())
		}
		if !maps.EqualFunc(r.snaps, ref.snaps, func(a, b *SnapshotInfo) bool { return a.Begin == b.Begin && (a.End == nil) == (b.End == nil) }) {
			t.Errorf("snapshots: %v", r.Snapshots())
		}
		if len(r.Gaps()) != 1 || len(r.Anchors()) != 2 {
			t.Errorf("gaps %v, anchors %v", r.Gaps(), r.Anchors())
		}
	}
}

// TestEveryTruncation cuts a tape at every byte: every record of a chunk that is
// wholly there comes back, and the cut is told.
func TestEveryTruncation(t *testing.T) {
	for _, every := range []int{1000, 9} {
		b := tinyTape(t, true, every)
		ref, want, err := readEverything(t, b)
		require.NoError(t, err)
		where := chunkOf(t, ref)
		end := map[uint64]int64{}
		for _, c := range ref.chunks {
			end[c.head.Number] = c.end()
		}
		step := 1
		if testing.Short() {
			step = 23
		}
		for cut := 0; cut < len(b); cut += step {
			r, got, err := readEverything(t, b[:cut])
			if err != nil {
				require.ErrorIs(t, err, ErrNotTape)
				require.Less(t, int64(cut), ref.chunks[0].end(), "no tape in %d bytes", cut)
				continue
			}
			require.False(t, r.Sealed())
			if chunkAt(ref, int64(cut)).off != int64(cut) {
				require.NotEmpty(t, r.Damage(), "cut at %d within a chunk", cut)
			}
			for seq, enc := range want.records {
				all := true
				for _, n := range where[seq] {
					all = all && end[n] <= int64(cut)
				}
				if all {
					require.Equal(t, enc, got.records[seq], "record %d, cut at %d", seq, cut)
				} else {
					require.NotContains(t, got.records, seq)
				}
			}
			for k, p := range got.pages {
				if w := want.pages[k]; p != w {
					// A page stated again after the cut is as first stated.
					require.Equal(t, [2]uint64{1, 1}, k, "cut at %d", cut)
				}
			}
		}
	}
}
