package blktrace

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func encode(r record, extra int) []byte {
	b := make([]byte, recordSize+extra)
	le := binary.LittleEndian
	le.PutUint32(b, recordMagic)
	le.PutUint64(b[8:], uint64(r.time))
	le.PutUint64(b[16:], r.sector)
	le.PutUint32(b[24:], r.bytes)
	le.PutUint16(b[28:], r.action)
	le.PutUint16(b[30:], r.category)
	le.PutUint32(b[32:], r.pid)
	le.PutUint32(b[40:], r.cpu)
	le.PutUint16(b[44:], r.errno)
	le.PutUint16(b[46:], uint16(extra))
	return b
}

func TestRecordsReadBack(t *testing.T) {
	want := record{time: 5, sector: 8, bytes: 4096, action: actQueue, category: catWrite | catFUA, pid: 7, cpu: 1, errno: 0}
	b := append(encode(want, 13), encode(want, 0)...)
	var got record
	n, err := got.parse(b)
	require.NoError(t, err)
	require.Equal(t, recordSize+13, n)
	require.Equal(t, want, got)
	n, err = got.parse(b[:recordSize+12])
	require.NoError(t, err)
	require.Zero(t, n, "the record is not all there")
	_, err = got.parse(make([]byte, recordSize))
	require.ErrorContains(t, err, "magic")
}

func TestOperations(t *testing.T) {
	for _, c := range []struct {
		category uint16
		bytes    uint32
		want     format.DiskOp
	}{
		{1, 4096, format.DiskRead}, {catWrite, 4096, format.DiskWrite}, {catWrite | catFlush, 0, format.DiskFlush},
		{catFlush, 0, format.DiskFlush}, {catWrite | catDiscard, 4096, format.DiskDiscard},
	} {
		r := record{category: c.category, bytes: c.bytes}
		require.Equal(t, c.want, r.op(), "%+v", c)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(encode(record{time: 1, sector: 2, bytes: 3, action: 4}, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		n, err := r.parse(b)
		require.True(t, n == 0 || err == nil && n >= recordSize && n <= len(b))
	})
}
