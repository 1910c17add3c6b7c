package rewrite_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/rewrite"
	"github.com/xentape/xentape/format"
)

// recording is a tape with two snapshots of memory and some packets between them.
func recording(t *testing.T) *format.Reader {
	var b bytes.Buffer
	w, err := format.NewWriter(&b, format.WriterOptions{TapeID: [16]byte{1}, Producer: "test"})
	require.NoError(t, err)
	memory, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory"})
	require.NoError(t, err)
	network, err := w.DefineStream(format.StreamDef{Kind: format.StreamNetwork, Name: "vif1.0"})
	require.NoError(t, err)
	snapshot := func(at int64, parent uint32, pages map[uint64]byte) {
		s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Stream: memory, Time: at}, Parent: parent, Pages: 16})
		require.NoError(t, err)
		for n := range uint64(16) {
			if v, ok := pages[n]; ok {
				require.NoError(t, s.Page(n, page(n, v)))
			}
		}
		require.NoError(t, s.End(format.SnapshotEnd{Stamp: format.Stamp{Stream: memory, Time: at + 1}, Conditions: format.Conditions{Complete: true}}))
	}
	snapshot(10, 0, map[uint64]byte{1: 1, 2: 2, 3: 3, 4: 0})
	for i := range 6 {
		require.NoError(t, w.Write(&format.Packet{Stamp: format.Stamp{Stream: network, Time: int64(20 + i)}, LinkType: 1, OrigLen: 60, Data: bytes.Repeat([]byte{byte(i)}, 60)}))
	}
	snapshot(30, 1, map[uint64]byte{2: 9})
	require.NoError(t, w.Seal())
	return open(t, b.Bytes())
}

func page(n uint64, v byte) []byte {
	p := make([]byte, format.PageSize)
	if v != 0 {
		binary.LittleEndian.PutUint64(p, n)
		p[100] = v
	}
	return p
}

func open(t *testing.T, b []byte) *format.Reader {
	r, err := format.Open(bytes.NewReader(b), int64(len(b)), format.ReaderOptions{})
	require.NoError(t, err)
	return r
}

func rewritten(t *testing.T, r *format.Reader, k rewrite.Keep) []byte {
	var b bytes.Buffer
	require.NoError(t, rewrite.Tape(r, &b, rewrite.Options{Keep: k}))
	rep, err := format.Verify(bytes.NewReader(b.Bytes()), int64(b.Len()), format.VerifyOptions{})
	require.NoError(t, err)
	require.True(t, rep.OK, "%+v", rep)
	return b.Bytes()
}

func TestWholeTapeKeepsItsRecords(t *testing.T) {
	was := recording(t)
	got := open(t, rewritten(t, was, rewrite.Keep{}))
	var want, have []format.Record
	for r, err := range was.Records(format.Query{}) {
		require.NoError(t, err)
		want = append(want, r)
	}
	for r, err := range got.Records(format.Query{}) {
		require.NoError(t, err)
		have = append(have, r)
	}
	require.Equal(t, want, have)
	require.Equal(t, "test"+rewrite.Mark, got.Header().Producer)
	require.Equal(t, got.Header(), open(t, rewritten(t, got, rewrite.Keep{})).Header(), "once is said once")
	state, content := read(t, got, 2, 2)
	require.Equal(t, format.PageData, state)
	require.Equal(t, page(2, 9), content)
	state, content = read(t, got, 2, 3)
	require.Equal(t, format.PageData, state)
	require.Equal(t, page(3, 3), content, "as in the parent")
}

func read(t *testing.T, r *format.Reader, id uint32, n uint64) (format.PageState, []byte) {
	s, err := r.Snapshot(id)
	require.NoError(t, err)
	b := make([]byte, format.PageSize)
	st, err := s.ReadPage(n, b)
	require.NoError(t, err)
	return st, b
}

// TestWhatIsLeftOutIsStated: what is not kept is missing, not absent, and a gap
// counts it.
func TestWhatIsLeftOutIsStated(t *testing.T) {
	was := recording(t)
	got := open(t, rewritten(t, was, rewrite.Keep{
		Record: func(r format.Record) bool {
			p, ok := r.(*format.Packet)
			return !ok || p.Data[0] == 3
		},
		Page: func(snapshot uint32, page uint64) bool { return page == 2 && snapshot == 2 },
	}))
	packets := 0
	for r, err := range got.Records(format.Query{}) {
		require.NoError(t, err)
		if p, ok := r.(*format.Packet); ok {
			packets++
			require.Equal(t, byte(3), p.Data[0])
		}
	}
	require.Equal(t, 1, packets)
	st, _ := read(t, got, 1, 2)
	require.Equal(t, format.PageMissing, st)
	st, content := read(t, got, 2, 2)
	require.Equal(t, format.PageData, st)
	require.Equal(t, page(2, 9), content)
	st, _ = read(t, got, 2, 4)
	require.Equal(t, format.PageZero, st, "zeros cost nothing")
	counts := map[format.StreamID]uint64{}
	for _, g := range got.Gaps() {
		require.Equal(t, format.GapRedacted, g.Reason)
		counts[g.Stream] = g.Count
	}
	require.Equal(t, map[format.StreamID]uint64{1: 5, 2: 5}, counts, "3 pages, then 2 of them again; 5 packets")
	for _, s := range got.Snapshots() {
		require.False(t, s.End.Complete)
	}
}

func TestSnapshotWithoutItsParentIsStatedInFull(t *testing.T) {
	got := open(t, rewritten(t, recording(t), rewrite.Keep{Snapshot: func(s format.SnapshotInfo) bool { return s.Begin.ID == 2 }}))
	require.Len(t, got.Snapshots(), 1)
	st, content := read(t, got, 1, 3)
	require.Equal(t, format.PageData, st)
	require.Equal(t, page(3, 3), content)
}

func TestSameChoiceSameBytes(t *testing.T) {
	k := rewrite.Keep{Page: func(_ uint32, page uint64) bool { return page%2 == 0 }}
	require.Equal(t, rewritten(t, recording(t), k), rewritten(t, recording(t), k))
}
