package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/analyze/internal/packet"
	"github.com/xentape/xentape/format"
)

// exchange makes the frames of one TCP connection in which client and server
// send the given bytes, in segments of mss.
func exchange(mss int, request, response []byte) [][]byte {
	var frames [][]byte
	g := newGenerator(1, func(_ int64, b []byte) { frames = append(frames, bytes.Clone(b)) })
	f := &flow{proto: packet.ProtoTCP, pa: 40000, pb: 80, seq: [2]uint32{1000, 5000}}
	copy(f.a[12:], []byte{10, 0, 0, 1})
	copy(f.b[12:], []byte{192, 0, 2, 1})
	send := func(from int, flags byte, b []byte) { g.send(f, step{from, flags, b}) }
	send(0, packet.SYN, nil)
	send(1, packet.SYN|packet.ACK, nil)
	send(0, packet.ACK, nil)
	send(0, packet.ACK|packet.PSH, request)
	send(1, packet.ACK, nil)
	for i := 1; len(response) > 0; i++ {
		n := min(mss, len(response))
		send(1, packet.ACK|packet.PSH, response[:n])
		response = response[n:]
		if i%4 == 0 {
			send(0, packet.ACK, nil)
		}
	}
	send(0, packet.ACK, nil)
	send(1, packet.FIN|packet.ACK, nil)
	send(0, packet.FIN|packet.ACK, nil)
	send(1, packet.ACK, nil)
	return frames
}

// feed gives frames to an Analyzer, a millisecond apart from second 100 on.
func feed(t *testing.T, a *Analyzer, frames [][]byte, change func(i int, p *format.Packet)) {
	for i, b := range frames {
		p := &format.Packet{Stamp: format.Stamp{Seq: uint64(i + 1), Time: 100e9 + int64(i)*1e6, Stream: 3},
			LinkType: 1, OrigLen: uint32(len(b)), Data: b}
		if change != nil {
			change(i, p)
		}
		require.NoError(t, a.Feed(p))
	}
}

func oneConn(t *testing.T, a *Analyzer) *Conn {
	require.NoError(t, a.Finish())
	var all []*Conn
	for c := range a.Conns() {
		all = append(all, c)
	}
	require.Len(t, all, 1)
	return all[0]
}

func downloadOf(body []byte) ([]byte, []byte) {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"+
		"Content-Disposition: attachment; filename=\"dropper\"\r\nContent-Length: %d\r\n\r\n", len(body))
	return []byte("GET /dropper HTTP/1.1\r\nHost: evil.example\r\n\r\n"), append([]byte(head), body...)
}

// TestFileIsFoundWhole: a download's hash and block hashes are those of the
// bytes served, also when segments arrive out of order and twice.
func TestFileIsFoundWhole(t *testing.T) {
	body := bytes.Repeat([]byte("\x7fELF payload of a dropper. "), 700)
	request, response := downloadOf(body)
	frames := exchange(1000, request, response)
	frames[6], frames[7] = frames[7], frames[6]
	frames = append(frames[:12:12], append([][]byte{frames[10]}, frames[12:]...)...)
	var streamed []byte
	a := New(Options{Content: true, FileBlocks: true, FileContent: func(_ *File, off uint64, b []byte) {
		if b != nil {
			require.Equal(t, uint64(len(streamed)), off)
			streamed = append(streamed, b...)
		}
	}})
	feed(t, a, frames, nil)
	c := oneConn(t, a)
	require.Equal(t, "http", c.Service)
	require.Equal(t, "SF", c.ConnState)
	require.Zero(t, c.MissedBytes)
	require.NotZero(t, c.Retransmits)
	require.NotZero(t, c.OutOfOrder)
	require.Equal(t, body, streamed)
	for f := range a.Files() {
		sum := sha256.Sum256(body)
		require.Equal(t, hex.EncodeToString(sum[:]), f.SHA256)
		require.Equal(t, "application/x-executable", f.MIMEType)
		require.Equal(t, "dropper", f.Filename)
		require.Equal(t, "http://evil.example/dropper", f.URL)
		require.Len(t, f.Blocks, (len(body)+BlockSize-1)/BlockSize)
		require.Equal(t, sha256.Sum256(body[:BlockSize]), [32]byte(f.Blocks[0]))
		tail := make([]byte, BlockSize)
		copy(tail, body[len(body)/BlockSize*BlockSize:])
		require.Equal(t, sha256.Sum256(tail), [32]byte(f.Blocks[len(f.Blocks)-1]))
		require.Less(t, f.FirstRecord, f.LastRecord)
	}
}

// TestHoleInFile: bytes that were never seen make the file incomplete, not
// wrong, and only the blocks they touch unknown.
func TestHoleInFile(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 2048)
	request, response := downloadOf(body)
	frames := exchange(1024, request, response)
	frames = append(frames[:15:15], frames[16:]...)
	a := New(Options{Content: true, FileBlocks: true})
	feed(t, a, frames, nil)
	c := oneConn(t, a)
	require.Equal(t, uint64(1024), c.MissedBytes)
	require.Contains(t, c.History, "g")
	files := 0
	for f := range a.Files() {
		files++
		require.Equal(t, uint64(1024), f.MissingBytes)
		require.Empty(t, f.SHA256)
		require.False(t, f.Complete)
		require.Equal(t, sha256.Sum256(body[:BlockSize]), [32]byte(f.Blocks[0]))
		unknown := 0
		for _, b := range f.Blocks {
			if b == [32]byte{} {
				unknown++
			}
		}
		require.LessOrEqual(t, unknown, 2)
		require.NotZero(t, unknown)
	}
	require.Equal(t, 1, files)
}

// TestChecksumLeftToHost: the wrong checksum of a frame that says its checksum
// is not made yet is not an error; without the word it is.
func TestChecksumLeftToHost(t *testing.T) {
	request, response := downloadOf([]byte("x"))
	frames := exchange(1000, request, response)
	for _, b := range frames {
		binary.BigEndian.PutUint16(b[14+20+16:], 0xdead)
	}
	a := New(Options{Content: true})
	feed(t, a, frames, func(_ int, p *format.Packet) { p.VNet = &format.VirtioNet{Flags: 1, CsumStart: 34, CsumOffset: 16} })
	c := oneConn(t, a)
	require.Equal(t, "SF", c.ConnState)
	require.NotContains(t, strings.ToUpper(c.History), "C")

	a = New(Options{Content: true})
	feed(t, a, frames, nil)
	require.NoError(t, a.Finish())
	for c := range a.Conns() {
		require.Regexp(t, `^[\^Cc]+$`, c.History)
		require.Zero(t, c.OrigPkts+c.RespPkts)
	}
}

// TestSuperFrame: a frame larger than any network's, as segmentation offload
// hands it over, is one packet with all its bytes.
func TestSuperFrame(t *testing.T) {
	body := bytes.Repeat([]byte("y"), 60_000)
	request, response := downloadOf(body)
	a := New(Options{Content: true})
	feed(t, a, exchange(64_000, request, response), func(_ int, p *format.Packet) {
		p.VNet = &format.VirtioNet{Flags: 1, GSOType: 1, GSOSize: 1448}
	})
	c := oneConn(t, a)
	require.Equal(t, uint64(len(response)), *c.RespBytes)
	require.Equal(t, uint64(5), c.RespPkts)
	for f := range a.Files() {
		require.Equal(t, uint64(len(body)), f.SeenBytes)
	}
}

// TestGapAndAnchor: a gap of the tape shows in the connections it touches and in
// no other, and the anchor gives wall-clock time.
func TestGapAndAnchor(t *testing.T) {
	request, response := downloadOf([]byte("x"))
	a := New(Options{Content: true})
	require.NoError(t, a.Feed(&format.StreamDef{ID: 3, Kind: format.StreamNetwork, Name: "vif0"}))
	require.NoError(t, a.Feed(&format.StreamDef{ID: 4, Kind: format.StreamDisk, Name: "xvda"}))
	require.NoError(t, a.Feed(&format.Anchor{Stamp: format.Stamp{Time: 50e9}, Realtime: 1_700_000_050e9}))
	frames := exchange(1000, request, response)
	feed(t, a, frames, nil)
	later := exchange(1000, request, response)
	feed(t, a, later, func(i int, p *format.Packet) { p.Time += 1000e9; p.Seq += 1000 })
	require.NoError(t, a.Feed(&format.Gap{Stamp: format.Stamp{Stream: 3}, From: 100e9 + 2e6, To: 100e9 + 3e6, Reason: format.GapOverflow, Count: 7}))
	require.NoError(t, a.Feed(&format.Gap{Stamp: format.Stamp{Stream: 4}, From: 1100e9, To: 1101e9}))
	require.NoError(t, a.Finish())
	var uncertain []bool
	for c := range a.Conns() {
		require.Equal(t, "vif0", c.Stream)
		uncertain = append(uncertain, c.Uncertain)
		if len(uncertain) == 1 {
			require.Equal(t, Seconds(1_700_000_100e9), c.TS)
			require.Equal(t, uint64(1), c.FirstRecord)
			require.Equal(t, uint64(len(frames)), c.LastRecord)
		}
	}
	require.Equal(t, []bool{true, false}, uncertain)
	require.Len(t, a.Gaps(), 1)
	require.Equal(t, []string{"1 gaps in the recording of packets, 7 packets lost"}, a.Doubts())
	require.ErrorIs(t, a.Feed(&format.Packet{}), ErrFinished)
}

// TestGapAtTheEdges: a gap is of a connection also when it fell just after the last
// packet seen of it and may have held its end, or just before it was met.
func TestGapAtTheEdges(t *testing.T) {
	request, response := downloadOf(bytes.Repeat([]byte("x"), 5000))
	frames := exchange(1000, request, response)
	for _, c := range []struct {
		name     string
		from, to int // frames recorded
		gap      [2]int64
		want     bool
	}{
		{"whole, gap after", 0, len(frames), [2]int64{101e9, 102e9}, false},
		{"whole, gap before", 0, len(frames), [2]int64{90e9, 99e9}, false},
		{"gap in the middle", 0, len(frames), [2]int64{100e9 + 4e6, 100e9 + 5e6}, true},
		{"end lost", 0, len(frames) - 3, [2]int64{101e9, 102e9}, true},
		{"end lost, gap much later", 0, len(frames) - 3, [2]int64{3000e9, 3001e9}, false},
		{"beginning lost", 3, len(frames), [2]int64{90e9, 99e9}, true},
		{"beginning lost, gap of the past", 3, len(frames), [2]int64{-5000e9, -4000e9}, false},
	} {
		a := New(Options{Content: true})
		require.NoError(t, a.Feed(&format.StreamDef{ID: 3, Kind: format.StreamNetwork}))
		feed(t, a, frames[c.from:c.to], func(i int, p *format.Packet) { p.Stream = 3 })
		require.NoError(t, a.Feed(&format.Gap{Stamp: format.Stamp{Stream: 3}, From: c.gap[0], To: c.gap[1], Count: 1}))
		require.NoError(t, a.Finish())
		require.Equal(t, c.want, oneConn(t, a).Uncertain, c.name)
		for f := range a.Files() {
			require.Equal(t, c.want, f.Uncertain, c.name)
		}
		for h := range a.HTTP() {
			require.Equal(t, c.want, h.Uncertain, c.name)
		}
	}
}

// TestTapeAndCaptureAgree: packets that went through a tape are found the same as
// when they are fed directly.
func TestTapeAndCaptureAgree(t *testing.T) {
	trace := readArchive(t, "testdata/zeek/zeek.tar.zst")["Traces/ftp/ipv4.pcap"]
	require.NotEmpty(t, trace)
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Rand: bytes.NewReader(make([]byte, 1<<16))})
	require.NoError(t, err)
	stream, err := w.DefineStream(format.StreamDef{Kind: format.StreamNetwork, Name: "vif0"})
	require.NoError(t, err)
	direct := New(Options{Content: true})
	require.NoError(t, direct.Feed(&format.StreamDef{ID: stream, Kind: format.StreamNetwork, Name: "vif0"}))
	require.NoError(t, readCapture(trace, func(p *format.Packet) {
		p.Stream = stream
		q := *p
		require.NoError(t, w.Write(&q))
		p.Seq = q.Seq // the writer numbers all records of the tape
		require.NoError(t, direct.Feed(p))
	}))
	require.NoError(t, w.Seal())
	require.NoError(t, direct.Finish())

	r, err := format.Open(bytes.NewReader(tape.Bytes()), int64(tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	replayed := New(Options{Content: true})
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		require.NoError(t, replayed.Feed(rec))
	}
	require.NoError(t, replayed.Finish())
	offset := Seconds(0)
	for c := range replayed.Conns() {
		offset = c.TS - Seconds(c.Start)
	}
	for c := range direct.Conns() {
		c.TS += offset
	}
	var one, two bytes.Buffer
	require.NoError(t, WriteConnLog(&one, direct.Conns()))
	require.NoError(t, WriteConnLog(&two, replayed.Conns()))
	require.Equal(t, one.String(), two.String())
	require.Contains(t, one.String(), "ftp-data")
	files := 0
	for f := range replayed.Files() {
		files++
		require.Equal(t, "FTP_DATA", f.Source)
		require.NotEmpty(t, f.SHA256)
	}
	require.Equal(t, 4, files)
}

// TestSecondsInLogs: times are written in seconds with six decimals.
func TestSecondsInLogs(t *testing.T) {
	for s, want := range map[Seconds]string{0: "0.000000", 1_500_000_000: "1.500000", 999: "0.000001", -2_000_000_000: "-2.000000"} {
		require.Equal(t, want, string(s.append(nil)))
	}
}

// TestLogEscapes: what a guest sends cannot break a log's lines or columns.
func TestLogEscapes(t *testing.T) {
	require.Equal(t, `a\x09b\x0ac\\d\xff€`, string(appendEscaped(nil, "a\tb\nc\\d\xff€", false)))
	require.Equal(t, `a\x2cb`, string(appendEscaped(nil, "a,b", true)))
}

// TestTLSBehindSocks: a connection relayed by SOCKS is looked into.
func TestTLSBehindSocks(t *testing.T) {
	var frames [][]byte
	g := newGenerator(1, func(_ int64, b []byte) { frames = append(frames, bytes.Clone(b)) })
	f := &flow{proto: packet.ProtoTCP, pa: 40000, pb: 9050, seq: [2]uint32{1, 1}}
	copy(f.a[12:], []byte{10, 0, 0, 1})
	copy(f.b[12:], []byte{192, 0, 2, 1})
	for _, s := range []step{
		{0, packet.SYN, nil}, {1, packet.SYN | packet.ACK, nil}, {0, packet.ACK, nil},
		{0, packet.ACK, []byte{5, 1, 0}}, {1, packet.ACK, []byte{5, 0}},
		{0, packet.ACK, []byte("\x05\x01\x00\x03\x0dsynth.example\x01\xbb")},
		{1, packet.ACK, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
		{0, packet.ACK, synthHello()}, {1, packet.ACK, nil},
	} {
		g.send(f, s)
	}
	a := New(Options{Content: true})
	feed(t, a, frames, nil)
	c := oneConn(t, a)
	require.Equal(t, "socks,ssl", c.Service)
	require.Equal(t, "synth.example", c.TLS.ServerName)
}
