package disk

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

// recorder keeps what is written.
type recorder struct{ records []format.Record }

func (r *recorder) write(rec format.Record) error {
	if q, ok := rec.(*format.DiskRequest); ok {
		c := *q
		c.Data = bytes.Clone(q.Data)
		rec = &c
	}
	r.records = append(r.records, rec)
	return nil
}

func request(id uint64, op format.DiskOp, at int64, sector uint64, n uint32) *bpf.Event {
	return &bpf.Event{Kind: bpf.Request, ID: id, Op: uint8(op), Time: at, Sector: sector, Bytes: n}
}

func piece(id, at uint64, data string) *bpf.Event {
	return &bpf.Event{Kind: bpf.Payload, ID: id, Sector: at, Bytes: uint32(len(data)), Data: []byte(data)}
}

func completion(id uint64, at int64, op format.DiskOp, status uint8) *bpf.Event {
	return &bpf.Event{Kind: bpf.Completion, ID: id, Op: uint8(op), Time: at, Status: status}
}

func stamped(at int64) format.Stamp {
	return format.Stamp{Time: at, Stream: 3, Uncertainty: stampError}
}

func TestOrderInterleavedWrites(t *testing.T) {
	rec := &recorder{}
	o := newOrder(3, rec.write)
	for _, e := range []*bpf.Event{
		request(1, format.DiskWrite, 10, 8, 6), request(2, format.DiskWrite, 11, 16, 3),
		piece(2, 0, "two"), completion(2, 12, format.DiskWrite, 0), piece(1, 0, "one"), request(3, format.DiskRead, 13, 0, 4096),
	} {
		o.add(e)
		require.NoError(t, o.commit(20))
	}
	require.Empty(t, rec.records, "the first write is not whole: nothing overtakes it")
	o.add(piece(1, 3, "ONE"))
	o.add(completion(1, 14, format.DiskWrite, 10))
	require.NoError(t, o.commit(20))
	require.Equal(t, []format.Record{
		&format.DiskRequest{Stamp: stamped(10), ID: 1, Op: format.DiskWrite, Offset: 8 * 512, Length: 6, Data: []byte("oneONE")},
		&format.DiskRequest{Stamp: stamped(11), ID: 2, Op: format.DiskWrite, Offset: 16 * 512, Length: 3, Data: []byte("two")},
		&format.DiskCompletion{Stamp: stamped(12), ID: 2},
		&format.DiskRequest{Stamp: stamped(13), ID: 3, Op: format.DiskRead, Length: 4096},
		&format.DiskCompletion{Stamp: stamped(14), ID: 1, Status: 5},
	}, rec.records)
	require.True(t, o.empty())
}

func TestOrderGivesUpOnLostPieces(t *testing.T) {
	rec := &recorder{}
	o := newOrder(3, rec.write)
	var lost []uint64
	o.ended = func(p *pending, _ int32, _ int64) {
		if p.noData {
			lost = append(lost, p.event.ID)
		}
	}
	o.add(request(1, format.DiskWrite, 10, 8, 6))
	o.add(piece(1, 0, "one"))
	o.add(request(2, format.DiskFlush, 11, 0, 0))
	require.NoError(t, o.commit(10+payloadPatience-1))
	require.Empty(t, rec.records)
	require.NoError(t, o.commit(10+payloadPatience))
	o.add(piece(1, 3, "late"))
	o.add(completion(1, 15, format.DiskWrite, 0))
	o.add(completion(99, 16, format.DiskWrite, 0)) // its request was dropped
	require.NoError(t, o.commit(10+payloadPatience))
	require.Equal(t, []format.Record{
		&format.DiskRequest{Stamp: stamped(10), ID: 1, Op: format.DiskWrite, Flags: format.DiskNoData, Offset: 8 * 512, Length: 6},
		&format.DiskRequest{Stamp: stamped(11), ID: 2, Op: format.DiskFlush},
		&format.DiskCompletion{Stamp: stamped(15), ID: 1},
	}, rec.records)
	require.Equal(t, []uint64{1, 99}, lost)
}

// On a host short of CPUs the program in the kernel is itself kept waiting between two
// pieces: 1.9 s is late, not lost. The figures are written out: a shorter patience once
// cost writes their content.
func TestOrderWaitsForPiecesThatAreLate(t *testing.T) {
	rec := &recorder{}
	o := newOrder(3, rec.write)
	o.add(request(1, format.DiskWrite, 10, 8, 6))
	o.add(piece(1, 0, "one"))
	require.NoError(t, o.commit(10+1_900_000_000))
	o.add(piece(1, 3, "ONE"))
	require.NoError(t, o.commit(10+1_900_000_001))
	require.Len(t, rec.records, 1)
	require.Equal(t, []byte("oneONE"), rec.records[0].(*format.DiskRequest).Data)
}

// Where much is held back behind a write that is not whole, memory counts for more.
func TestOrderDoesNotWaitWithMuchInHand(t *testing.T) {
	rec := &recorder{}
	o := newOrder(3, rec.write)
	for id := uint64(1); o.held <= heldLimit; id++ {
		o.add(request(id, format.DiskWrite, 10, 0, maxPayload))
	}
	require.NoError(t, o.commit(10+shortPatience-1))
	require.Empty(t, rec.records)
	require.NoError(t, o.commit(10+shortPatience))
	require.NotEmpty(t, rec.records)
	require.LessOrEqual(t, o.held, heldLimit)
}

func TestOrderSplitsLargeWrites(t *testing.T) {
	rec := &recorder{}
	o := newOrder(3, rec.write)
	n := uint32(format.MaxDiskData + 4096)
	o.add(request(1, format.DiskWrite, 10, 0, n))
	for at := uint32(0); at < n; at += 4096 {
		o.add(piece(1, uint64(at), string(bytes.Repeat([]byte{byte(at >> 12)}, 4096))))
	}
	o.add(request(2, format.DiskWrite, 11, 0, maxPayload+1))
	require.NoError(t, o.commit(20))
	require.Len(t, rec.records, 3)
	first, second := rec.records[0].(*format.DiskRequest), rec.records[1].(*format.DiskRequest)
	require.Equal(t, []uint64{0, format.MaxDiskData}, []uint64{first.Offset, second.Offset})
	require.Equal(t, first.ID, second.ID)
	require.Len(t, second.Data, 4096)
	require.NotZero(t, rec.records[2].(*format.DiskRequest).Flags&format.DiskNoData)
}
