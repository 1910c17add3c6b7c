package rebuild

import (
	"bytes"
	"iter"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func submit(id uint64, size int) *format.DiskRequest {
	return &format.DiskRequest{ID: id, Op: format.DiskWrite, Offset: id * 4096, Length: uint64(size), Data: make([]byte, size)}
}

func ids(rs []*format.DiskRequest) (out []uint64) {
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return out
}

// The oldest are given up first, and an identity that was used before is no older than
// its last use.
func TestPendingGivesUpTheOldest(t *testing.T) {
	p := Pending{limit: 3 * (1000 + 128)}
	require.Nil(t, p.Take(1))
	require.Empty(t, p.Add(submit(1, 1000)))
	require.Equal(t, []uint64{1}, ids(p.Take(1)))
	require.Zero(t, p.bytes)
	require.Empty(t, p.Add(submit(2, 1000)))
	require.Empty(t, p.Add(submit(1, 1000)))
	require.Empty(t, p.Add(submit(3, 1000)))
	gone := p.Add(submit(4, 1000))
	require.Equal(t, []uint64{2}, ids(gone))
	require.NotZero(t, gone[0].Flags&format.DiskNoData)
	require.Nil(t, p.Take(2))
	// All parts of a request go together, in their order.
	require.Equal(t, []uint64{1}, ids(p.Add(submit(3, 1000))))
	require.Equal(t, []uint64{3, 3}, ids(p.Add(submit(5, 1000))))
	// One that alone is too much is not held either.
	require.Equal(t, []uint64{4, 5, 6}, ids(p.Add(submit(6, 9000))))
	require.Zero(t, p.bytes)
	require.Empty(t, p.byID)
}

// What never completes is not held without end: neither its content nor its order.
func TestPendingIsBounded(t *testing.T) {
	p := Pending{limit: 64 * (512 + 128)}
	given := 0
	for id := range uint64(20000) {
		given += len(p.Add(submit(id, 512)))
		require.LessOrEqual(t, p.bytes, p.limit)
	}
	require.Equal(t, 20000-64, given)
	for id := range uint64(20000) {
		p.Take(id)
	}
	require.Zero(t, p.bytes)
	for id := range uint64(20000) {
		require.Empty(t, p.Add(submit(1<<32+id, 0)))
		require.Len(t, p.Take(1<<32+id), 1)
	}
	require.Less(t, len(p.order), 2048)
}

func records(rs ...format.Record) iter.Seq2[format.Record, error] {
	return func(yield func(format.Record, error) bool) {
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// A request that waits too long is taken as done, with content that is not known;
// nothing that the guest asked for is dropped in silence.
func TestEffectsOfWhatNeverCompletes(t *testing.T) {
	var rs []format.Record
	content := make([]byte, 4<<20)
	for id := range uint64(maxPending>>22 + 8) {
		r := submit(id, 0)
		r.Offset, r.Length, r.Data = id<<22, 4<<20, content
		rs = append(rs, r)
	}
	lost := uint64(0)
	for r, err := range Effects(records(rs...)) {
		require.NoError(t, err)
		q := r.(*format.DiskRequest)
		require.False(t, q.Captured())
		require.Equal(t, lost<<22, q.Offset)
		lost++
	}
	require.EqualValues(t, 9, lost, "the ones that 256 MiB, with what holding costs, have no room for")
}

// What a tape says of a write's length and what it has of its content may differ: it
// was made by an enemy.
func TestWriteThatIsNotAsLongAsItSays(t *testing.T) {
	g := newGuestDisk()
	image := bytes.Clone(g.data)
	for _, n := range []int{0, 100, 4095, 4097, 8192} {
		r := request{DiskRequest: format.DiskRequest{Stamp: format.Stamp{Time: g.time}, ID: 7, Op: format.DiskWrite, Offset: uint64(len(image)) - 4096, Length: 4096, Data: bytes.Repeat([]byte{1}, n)}}
		got, losses := exportChain(t, nil, "", []*Disk{g.tape(t, "a", "", image, []request{r})}, math.MaxInt64)
		require.Equal(t, []string{"4096 bytes were written by the guest without their content being captured"}, losses)
		require.True(t, bytes.Equal(image, got))
	}
}

// sparse is a file that tells what is written to it.
type sparse struct {
	held    []byte
	written int
}

func (f *sparse) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.held).ReadAt(p, off)
}

func (f *sparse) WriteAt(p []byte, off int64) (int, error) {
	f.written += len(p)
	return copy(f.held[off:], p), nil
}

func (f *sparse) Truncate(int64) error { return nil }

// A discard of the whole disk does not fill a sparse file with zeros.
func TestZeroLeavesZerosAlone(t *testing.T) {
	f := &sparse{held: make([]byte, 5*copyBatch+100)}
	f.held[2*copyBatch+5], f.held[5*copyBatch+99] = 1, 1
	require.NoError(t, zero(f, 4096, uint64(len(f.held))))
	require.Equal(t, make([]byte, len(f.held)), f.held)
	require.Less(t, f.written, 2*copyBatch)
}
