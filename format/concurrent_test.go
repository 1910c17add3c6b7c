package format

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestManyWriters: sources write at the same time, each in its own order; the
// tape has every record once, in one order that respects theirs.
func TestManyWriters(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{ChunkSize: PageSize, CheckpointEvery: 20, Workers: 3, Signer: testSigner(t)})
	require.NoError(t, err)
	const sources, each = 4, 200
	var ids [sources]StreamID
	for i := range ids {
		ids[i], err = w.DefineStream(StreamDef{Kind: StreamKind(1 + i%4)})
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	errs := make([]error, sources)
	for i, id := range ids {
		wg.Go(func() { errs[i] = writeSource(w, id, each) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, w.Seal())
	v := verifyBytes(t, out.Bytes(), VerifyOptions{})
	require.Empty(t, v.Damage)
	require.True(t, v.Complete)
	r := openBytes(t, out.Bytes(), ReaderOptions{})
	next := map[StreamID]int64{}
	for rec, err := range r.Records(Query{Types: []RecordType{TypeMark}}) {
		require.NoError(t, err)
		h := rec.Header()
		require.Equal(t, next[h.Stream], h.Time)
		next[h.Stream]++
	}
	for _, id := range ids {
		require.Equal(t, int64(each), next[id])
	}
	require.Len(t, r.Snapshots(), sources)
	page := make([]byte, PageSize)
	for _, info := range r.Snapshots() {
		s, err := r.Snapshot(info.Begin.ID)
		require.NoError(t, err)
		for n := range uint64(each / 10) {
			st, err := s.ReadPage(n, page)
			require.NoError(t, err)
			require.Equal(t, PageData, st)
			require.Equal(t, testPage(n), page) // the same in all: stored once
		}
	}
}

// writeSource writes marks, and between them a snapshot.
func writeSource(w *Writer, id StreamID, n int) error {
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: id}, Pages: 100})
	if err != nil {
		return err
	}
	for i := range n {
		if err := w.Write(&Mark{Stamp: Stamp{Stream: id, Time: int64(i)}, Text: "m"}); err != nil {
			return err
		}
		switch {
		case i%10 == 0:
			err = s.Page(uint64(i/10), testPage(uint64(i/10)))
		case i%67 == 0:
			err = w.Flush()
		}
		if err != nil {
			return err
		}
	}
	return s.End(SnapshotEnd{})
}
