package disk

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// A write that ended while its chunk was read may be missing in what was read: the
// tape has it, so it is left out of what is written for the chunk. One that ended
// before is in it.
func TestReadBackLeavesNewerWritesAlone(t *testing.T) {
	r := newResync(2*chunkSize + 1000)
	r.touch(chunkSize+10, 5)
	r.touch(2*chunkSize, 1<<40)
	r.touch(1<<50, 9)
	chunk, ok := r.next()
	require.True(t, ok)
	require.Equal(t, uint64(1), chunk)
	r.begin(chunk, 100)
	_, ok = r.next()
	require.False(t, ok, "one at a time")
	r.ended(chunkSize+512, 512, 99)
	r.ended(chunkSize+4096, 8192, 100)
	r.ended(chunkSize+8192, 8192, 150)
	r.ended(0, 512, 150)
	r.result = &chunkRead{chunk: chunk, t0: 110, t1: 190, data: bytes.Repeat([]byte{7}, chunkSize)}
	var got []format.Extent
	for _, q := range r.records(3) {
		require.Equal(t, format.DiskReadback|format.DiskApplied, q.Flags)
		require.Len(t, q.Data, int(q.Length))
		require.Equal(t, format.Stamp{Time: 190, Uncertainty: 80, Stream: 3}, q.Stamp)
		got = append(got, format.Extent{Start: q.Offset, Count: q.Length})
	}
	require.Equal(t, []format.Extent{
		{Start: chunkSize, Count: 4096}, {Start: chunkSize + 16384, Count: chunkSize - 16384},
	}, got)
	chunk, ok = r.next()
	require.True(t, ok)
	require.Equal(t, uint64(2), chunk)
	r.begin(chunk, 200)
	r.result = &chunkRead{chunk: chunk, t0: 200, t1: 300, err: errors.New("input/output error")}
	g := r.failed(3)
	require.Equal(t, []format.Extent{{Start: 2 * chunkSize, Count: 1000}}, g.Extents)
	require.Equal(t, format.GapUnreadable, g.Reason)
	_, ok = r.next()
	require.False(t, ok, "a chunk that cannot be read is not tried for ever")
}
