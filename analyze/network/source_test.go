package network

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// logs writes every log of an analysis.
func logs(t testing.TB, a *Analyzer) string {
	var b bytes.Buffer
	for _, write := range []func(io.Writer) error{
		func(w io.Writer) error { return WriteConnLog(w, a.Conns()) },
		func(w io.Writer) error { return WriteDNSLog(w, a.DNS()) },
		func(w io.Writer) error { return WriteHTTPLog(w, a.HTTP()) },
		func(w io.Writer) error { return WriteSSLLog(w, a.TLS()) },
		func(w io.Writer) error { return WriteSSHLog(w, a.SSH()) },
		func(w io.Writer) error { return WriteQUICLog(w, a.QUIC()) },
		func(w io.Writer) error { return WriteFilesLog(w, a.Files()) },
	} {
		require.NoError(t, write(&b))
	}
	return b.String()
}

// asPcapng writes packets of one link type as a pcapng file with nanoseconds.
func asPcapng(packets []format.Packet) []byte {
	block := func(b []byte, typ uint32, body []byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		n := uint32(12 + len(body))
		b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, typ), n)
		return binary.LittleEndian.AppendUint32(append(b, body...), n)
	}
	b := block(nil, 0x0a0d0d0a, []byte("\x4d\x3c\x2b\x1a\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	b = block(b, 1, append(binary.LittleEndian.AppendUint16(nil, packets[0].LinkType), "\x00\x00\x00\x00\x00\x00\x09\x00\x01\x00\x09\x00\x00\x00\x00\x00\x00\x00"...))
	for i := range packets {
		p := &packets[i]
		body := binary.LittleEndian.AppendUint32(nil, 0)
		body = binary.LittleEndian.AppendUint32(body, uint32(uint64(p.Time)>>32))
		body = binary.LittleEndian.AppendUint32(body, uint32(p.Time))
		body = binary.LittleEndian.AppendUint32(body, uint32(len(p.Data)))
		b = block(b, 6, append(binary.LittleEndian.AppendUint32(body, p.OrigLen), p.Data...))
	}
	return b
}

// asTape records packets whose times are wall-clock ones on a tape with a clock of
// its own.
func asTape(t testing.TB, packets []format.Packet) []byte {
	const boot = 1_234_567_890_123_456_789 % 1_000_000_007 // ns; no whole number of anything
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Rand: bytes.NewReader(make([]byte, 1<<16))})
	require.NoError(t, err)
	_, err = w.DefineStream(format.StreamDef{Kind: format.StreamDisk, Name: "xvda"})
	require.NoError(t, err)
	stream, err := w.DefineStream(format.StreamDef{Kind: format.StreamNetwork, Name: "vif0"})
	require.NoError(t, err)
	require.NoError(t, w.Write(&format.Anchor{Realtime: packets[0].Time, Stamp: format.Stamp{Time: boot}}))
	for i := range packets {
		p := packets[i]
		p.Stream, p.Time, p.Seq = stream, p.Time-packets[0].Time+boot, 0
		require.NoError(t, w.Write(&p))
	}
	require.NoError(t, w.Seal())
	return tape.Bytes()
}

// TestSameFromEverySource: the same packets make the same logs, byte for byte, from
// a pcap, a pcapng and a tape, for one, two and eight workers.
func TestSameFromEverySource(t *testing.T) {
	files := readArchive(t, "testdata/zeek/zeek.tar.zst")
	compared, rows := 0, 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".pcap" || len(files[name]) > 64<<10 {
			continue
		}
		var packets []format.Packet
		_ = readCapture(files[name], func(p *format.Packet) { packets = append(packets, *p) })
		// Earlier than the tape's clock, or out of order, is nothing a recorder writes.
		if len(packets) == 0 || !slices.IsSortedFunc(packets, func(x, y format.Packet) int { return int(x.Time - y.Time) }) {
			continue
		}
		options := func(workers int) Options { return Options{Content: true, IgnoreChecksums: true, Workers: workers} }
		want := logs(t, analyzeCapture(t, files[name], options(1)))
		pcapng, tape := asPcapng(packets), asTape(t, packets)
		for _, workers := range []int{1, 2, 8} {
			require.Equal(t, want, logs(t, analyzeCapture(t, files[name], options(workers))), "%s: pcap, %d workers", name, workers)
			require.Equal(t, want, logs(t, analyzeCapture(t, pcapng, options(workers))), "%s: pcapng, %d workers", name, workers)
			r, err := format.Open(bytes.NewReader(tape), int64(len(tape)), format.ReaderOptions{})
			require.NoError(t, err)
			a := New(options(workers))
			for rec, err := range r.Records(format.Query{}) {
				require.NoError(t, err)
				require.NoError(t, a.Feed(rec))
			}
			require.NoError(t, a.Finish())
			require.Equal(t, want, logs(t, a), "%s: tape, %d workers", name, workers)
		}
		compared++
		rows += bytes.Count([]byte(want), []byte("\n"))
	}
	require.Greater(t, compared, 50)
	t.Logf("%d captures, %d lines of logs", compared, rows)
}

// TestGapOnTape: a tape whose recorder lost packets in the middle of a download
// tells so in the connection, the request and the file, and of nothing else.
func TestGapOnTape(t *testing.T) {
	request, response := downloadOf(bytes.Repeat([]byte("content "), 2000))
	frames := exchange(1000, request, response)
	const lost = 4
	middle := len(frames) / 2
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Rand: bytes.NewReader(make([]byte, 1<<16))})
	require.NoError(t, err)
	stream, err := w.DefineStream(format.StreamDef{Kind: format.StreamNetwork, Name: "vif0"})
	require.NoError(t, err)
	write := func(from, to int, at int64) {
		for i := from; i < to; i++ {
			require.NoError(t, w.Write(&format.Packet{Stamp: format.Stamp{Stream: stream, Time: at + int64(i)*1e6}, LinkType: 1,
				OrigLen: uint32(len(frames[i])), Data: frames[i]}))
		}
	}
	write(0, middle, 1e9)
	require.NoError(t, w.Write(&format.Gap{Stamp: format.Stamp{Stream: stream, Time: 1e9 + int64(middle+lost)*1e6},
		From: 1e9 + int64(middle)*1e6, To: 1e9 + int64(middle+lost)*1e6, Reason: format.GapOverflow, Count: lost}))
	write(middle+lost, len(frames), 1e9)
	write(0, len(frames), 5000e9) // the same again, much later, whole
	require.NoError(t, w.Seal())
	r, err := format.Open(bytes.NewReader(tape.Bytes()), int64(tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	for _, workers := range []int{1, 2} {
		a := New(Options{Content: true, Workers: workers})
		for rec, err := range r.Records(format.Query{}) {
			require.NoError(t, err)
			require.NoError(t, a.Feed(rec))
		}
		require.NoError(t, a.Finish())
		var conns, files, requests []bool
		for c := range a.Conns() {
			conns = append(conns, c.Uncertain)
			require.Equal(t, c.Uncertain, c.MissedBytes > 0)
		}
		for f := range a.Files() {
			files = append(files, f.Uncertain)
			require.Equal(t, f.Uncertain, f.MissingBytes > 0)
			require.Equal(t, f.Uncertain, f.SHA256 == "")
		}
		for h := range a.HTTP() {
			requests = append(requests, h.Uncertain)
		}
		require.Equal(t, []bool{true, false}, conns)
		require.Equal(t, []bool{true, false}, files)
		require.Equal(t, []bool{true, false}, requests)
		require.Equal(t, []string{"1 gaps in the recording of packets, 4 packets lost"}, a.Doubts())
	}
}
