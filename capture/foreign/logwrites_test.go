package foreign

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

type logSpec struct {
	sector, sectors, flags uint64
	mark                   string
	time                   int64
}

// logContent is the byte a request's data is made of, so that requests differ.
func logContent(i int) byte { return byte(i*7 + 1) }

func buildLog(sectorSize int, count uint64, entries []logSpec) []byte {
	var b buffer
	b.put(uint64(0x6a736677736872), uint64(1), count, uint32(sectorSize))
	b.align(sectorSize)
	for i, e := range entries {
		head := make([]byte, sectorSize)
		le.PutUint64(head, e.sector)
		le.PutUint64(head[8:], e.sectors)
		le.PutUint64(head[16:], e.flags)
		le.PutUint64(head[24:], uint64(len(e.mark)))
		copy(head[32:], e.mark)
		if e.time != 0 {
			le.PutUint64(head[504:], uint64(e.time))
		}
		b.put(head)
		if e.flags&4 == 0 {
			b.put(bytes.Repeat([]byte{logContent(i)}, int(e.sectors)*sectorSize))
		}
	}
	return b.Bytes()
}

func logOf(t testing.TB, b []byte) *LogWrites {
	t.Helper()
	l, err := OpenLogWrites(bytes.NewReader(b), int64(len(b)), "log")
	require.NoError(t, err)
	return l
}

func collect(l *LogWrites) (records []format.Record, err error) {
	for r, e := range l.Records() {
		if e != nil {
			return records, e
		}
		records = append(records, r)
	}
	return records, nil
}

func TestLogWritesEveryKindOfEntry(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		b := buildLog(sector, 6, []logSpec{
			{sector: 8, sectors: 2, time: 1000},
			{sector: 0, sectors: 0, flags: 1, time: 1001},
			{sector: 16, sectors: 1, flags: 1 | 2 | 16, time: 1002},
			{sector: 32, sectors: 1 << 30, flags: 4, time: 1003},
			{flags: 8, mark: "cp0001"},
			{sector: 1, sectors: uint64(format.MaxDiskData/sector) + 1},
		})
		u := uint64(sector)
		got, err := collect(logOf(t, b))
		require.NoError(t, err)
		untimed := format.Stamp{Uncertainty: ^uint32(0)}
		data := func(i int, n uint64) []byte { return bytes.Repeat([]byte{logContent(i)}, int(n)) }
		require.Equal(t, []format.Record{
			&format.DiskRequest{Stamp: format.Stamp{Time: 1000}, ID: 1, Op: format.DiskWrite, Flags: format.DiskApplied, Offset: 8 * u, Length: 2 * u, Data: data(0, 2*u)},
			&format.DiskRequest{Stamp: format.Stamp{Time: 1001}, ID: 2, Op: format.DiskFlush, Flags: format.DiskApplied},
			&format.DiskRequest{Stamp: format.Stamp{Time: 1002}, ID: 3, Op: format.DiskWrite, Flags: format.DiskApplied | format.DiskPreflush | format.DiskFUA | format.DiskMeta, Offset: 16 * u, Length: u, Data: data(2, u)},
			&format.DiskRequest{Stamp: format.Stamp{Time: 1003}, ID: 4, Op: format.DiskDiscard, Flags: format.DiskApplied, Offset: 32 * u, Length: u << 30},
			&format.Mark{Stamp: untimed, Text: "cp0001"},
			&format.DiskRequest{Stamp: untimed, ID: 6, Op: format.DiskWrite, Flags: format.DiskApplied, Offset: u, Length: format.MaxDiskData, Data: data(5, format.MaxDiskData)},
			&format.DiskRequest{Stamp: untimed, ID: 6, Op: format.DiskWrite, Flags: format.DiskApplied, Offset: u + format.MaxDiskData, Length: u, Data: data(5, u)},
		}, got)
	}
}

// The super block's count decides where a log ends; without one, the first empty
// entry or the end of the file does.
func TestLogWritesEnd(t *testing.T) {
	two := []logSpec{{sector: 1, sectors: 1}, {sector: 2, sectors: 1}}
	got, err := collect(logOf(t, buildLog(512, 1, two)))
	require.NoError(t, err)
	require.Len(t, got, 1, "what lies beyond the count may be an earlier log")
	for _, tail := range [][]byte{nil, make([]byte, 512), make([]byte, 100)} {
		got, err = collect(logOf(t, append(buildLog(512, 0, two), tail...)))
		require.NoError(t, err)
		require.Len(t, got, 2)
	}
	got, err = collect(logOf(t, append(buildLog(512, 3, two), make([]byte, 512)...)))
	require.ErrorContains(t, err, "entry 3")
	require.Len(t, got, 2)
}

func TestLogWritesTruncated(t *testing.T) {
	b := buildLog(512, 2, []logSpec{{sector: 1, sectors: 1}, {sector: 2, sectors: 9}})
	got, err := collect(logOf(t, b[:len(b)-1]))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Len(t, got, 1)
}

func TestLongMarkHasNoTime(t *testing.T) {
	text := string(bytes.Repeat([]byte("x"), 480)) // covers the bytes where a time would be
	got, err := collect(logOf(t, buildLog(512, 1, []logSpec{{flags: 8, mark: text}})))
	require.NoError(t, err)
	require.Equal(t, []format.Record{&format.Mark{Stamp: format.Stamp{Uncertainty: ^uint32(0)}, Text: text}}, got)
	_, err = collect(logOf(t, buildLog(4096, 1, []logSpec{{flags: 8, mark: string(make([]byte, 5000))}})))
	require.ErrorContains(t, err, "mark of 5000 bytes")
}

func FuzzLogWrites(f *testing.F) {
	f.Add(buildLog(512, 4, []logSpec{{sector: 8, sectors: 2, time: 5}, {flags: 1}, {sector: 3, sectors: 9, flags: 4}, {flags: 8, mark: "m"}}))
	f.Add(buildLog(4096, 0, []logSpec{{sector: 1, sectors: 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := OpenLogWrites(bytes.NewReader(b), int64(len(b)), "fuzz")
		if err != nil {
			return
		}
		total := 0
		for r, err := range l.Records() {
			if err != nil {
				require.Nil(t, r)
				continue
			}
			if q, ok := r.(*format.DiskRequest); ok {
				require.True(t, q.Op != format.DiskWrite || uint64(len(q.Data)) == q.Length && q.Length > 0)
				require.Zero(t, q.Flags&format.DiskNoData)
				total += len(q.Data)
			}
		}
		require.LessOrEqual(t, total, len(b), "data is read once")
	})
}

// The last mark of each recording is its end; all requests carry a time.
func TestRecordedLogs(t *testing.T) {
	dir := dataDir(t, "disk")
	logs, err := filepath.Glob(filepath.Join(dir, "*", "*", "log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, path := range logs {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		st, err := f.Stat()
		require.NoError(t, err)
		l, err := OpenLogWrites(f, st.Size(), path)
		require.NoError(t, err)
		var last int64
		marks, requests, untimed := 0, 0, 0
		for r, err := range l.Records() {
			require.NoError(t, err)
			switch r.(type) {
			case *format.Mark:
				marks++
			case *format.DiskRequest:
				requests++
			}
			if tm := r.Header().Time; tm == 0 {
				untimed++
			} else {
				require.GreaterOrEqual(t, tm, last, path)
				last = tm
			}
		}
		require.Zero(t, untimed, path)
		require.Positive(t, marks, path)
		t.Logf("%s: %d requests, %d marks, %d entries", filepath.Base(filepath.Dir(path)), requests, marks, l.Entries)
	}
}
