package format

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

const paddedChunks, padding = 48, 4 << 20

// paddedTape has a snapshot of which each pages chunk holds one page, and every second
// a padding of zeros after what the format says of its body: next to nothing in the
// file, and megabytes when it is opened.
func paddedTape(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Rand: fixedRand()})
	require.NoError(t, err)
	mem, err := w.DefineStream(StreamDef{Kind: StreamMemory, Name: "memory"})
	require.NoError(t, err)
	s, err := w.BeginSnapshot(SnapshotBegin{Stamp: Stamp{Stream: mem}, Pages: paddedChunks})
	require.NoError(t, err)
	for n := range uint64(paddedChunks) {
		require.NoError(t, s.Page(n, testPage(n)))
		p, m, salt := s.pack, s.meta(), [saltSize]byte{}
		m.Part, m.Pack, m.Slots = s.part, p.id, 1
		w.submit(&draft{
			head: chunkHead{Type: chunkPages}, plain: append(p.encode(salt[:]), make([]byte, n%2*padding)...),
			meta: func(_ []byte, b bodyMeta) []byte {
				root := slotsRoot(salt, p.digests)
				m.bodyMeta, m.Commit = b, &root
				return m.append(nil)
			},
		})
		s.part++
		s.pack = nil
	}
	require.NoError(t, s.End(SnapshotEnd{}))
	require.NoError(t, w.Seal())
	require.Less(t, out.Len(), 1<<20)
	return out.Bytes()
}

// TestPaddedChunksAreCountedWhole: what is kept of opened chunks is bounded by what
// they take in memory, not by the pages they say they have.
func TestPaddedChunksAreCountedWhole(t *testing.T) {
	b := paddedTape(t)
	base := heap()
	r := openBytes(t, b, ReaderOptions{MaxMemory: 2 * padding})
	s, err := r.Snapshot(1)
	require.NoError(t, err)
	page := make([]byte, PageSize)
	for n := range uint64(paddedChunks) {
		st, err := s.ReadPage(n, page)
		require.NoError(t, err)
		require.Equal(t, PageData, st)
		require.Equal(t, testPage(n), page)
	}
	kept := heap() - base
	runtime.KeepAlive(r)
	t.Logf("reader: %d bytes of tape, %d KiB kept", len(b), kept>>10)
	require.Less(t, kept, int64(4*padding))

	// The auditor, which keeps contents where they lie.
	base = heap()
	r, err = openScanned(bytes.NewReader(b), int64(len(b)), nil)
	require.NoError(t, err)
	a := newAuditor(r)
	for _, c := range r.chunks {
		require.NoError(t, a.check(c))
	}
	kept = heap() - base
	runtime.KeepAlive(a)
	t.Logf("auditor: %d KiB kept", kept>>10)
	require.Less(t, kept, int64(4*padding))
}
