package network

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/analyze/internal/packet"
	"github.com/xentape/xentape/format"
)

// A generator makes the same traffic from the same seed: TCP, UDP and ICMP
// flows over IPv4 and IPv6, some tagged, interleaved, with retransmissions,
// resets and content that looks like HTTP, TLS, SSH and DNS.
type generator struct {
	r       *rand.Rand
	now     int64 // µs
	payload []byte
	buf     []byte
	emit    func(now int64, frame []byte)
	packets int
}

// flow is one conversation: a list of steps still to be sent.
type flow struct {
	v6, vlan   bool
	proto      byte
	a, b       [16]byte
	pa, pb     uint16
	seq        [2]uint32
	steps      []step
	kind       int
	retransmit bool
}

type step struct {
	from    int // 0 originator, 1 responder
	flags   byte
	payload []byte
}

func newGenerator(seed uint64, emit func(int64, []byte)) *generator {
	g := &generator{r: rand.New(rand.NewPCG(seed, 1)), emit: emit, now: 1_700_000_000_000_000}
	g.payload = make([]byte, 64<<10)
	for i := range g.payload {
		g.payload[i] = byte(g.r.Uint32())
	}
	return g
}

// run sends about n packets of flows flows, active of them at any time.
func (g *generator) run(n, flows, active int) {
	perFlow := n / flows
	live := make([]*flow, 0, active)
	made := 0
	for made < flows || len(live) > 0 {
		for len(live) < active && made < flows {
			live = append(live, g.flow(made, perFlow))
			made++
		}
		i := g.r.IntN(len(live))
		f := live[i]
		for burst := 1 + g.r.IntN(3); burst > 0 && len(f.steps) > 0; burst-- {
			g.send(f, f.steps[0])
			f.steps = f.steps[1:]
		}
		if len(f.steps) == 0 {
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
	}
}

func (g *generator) flow(n, packets int) *flow {
	f := &flow{v6: g.r.IntN(10) == 0, vlan: g.r.IntN(10) == 0, pa: uint16(20000 + n%40000), kind: g.r.IntN(10)}
	binary.BigEndian.PutUint32(f.a[12:], 0x0a000000|uint32(n%5000))
	binary.BigEndian.PutUint32(f.b[12:], 0xc0a80000|uint32(n%700))
	f.a[0], f.b[0] = 0x20, 0x20
	f.seq = [2]uint32{g.r.Uint32(), g.r.Uint32()}
	size := max(4, packets/2+g.r.IntN(packets+1))
	switch p := g.r.IntN(100); {
	case p < 80:
		f.proto = packet.ProtoTCP
		g.tcpSteps(f, size)
	case p < 97:
		f.proto = packet.ProtoUDP
		g.udpSteps(f, size)
	default:
		f.proto = packet.ProtoICMP
		for i := range size {
			f.steps = append(f.steps, step{from: i & 1, payload: g.payload[:56]})
		}
	}
	return f
}

const synthHTTP = "GET /file/%d HTTP/1.1\r\nHost: files.example\r\nUser-Agent: synth\r\n\r\n"

func (g *generator) tcpSteps(f *flow, n int) {
	add := func(from int, flags byte, b []byte) { f.steps = append(f.steps, step{from, flags, b}) }
	add(0, packet.SYN, nil)
	add(1, packet.SYN|packet.ACK, nil)
	add(0, packet.ACK, nil)
	data := max(1, n-7)
	switch {
	case f.kind < 4:
		f.pb = 80
		add(0, packet.ACK|packet.PSH, fmt.Appendf(nil, synthHTTP, f.pa))
		add(1, packet.ACK, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", data*2/3*1200))
	case f.kind < 7:
		f.pb = 443
		add(0, packet.ACK|packet.PSH, synthHello())
		add(1, packet.ACK, []byte("\x16\x03\x03\x00\x32\x02\x00\x00\x2e\x03\x03"+string(g.payload[:32])+"\x00\x13\x01\x00\x00\x06\x00\x2b\x00\x02\x03\x04"))
		add(0, packet.ACK|packet.PSH, []byte("\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x20"+string(g.payload[:32])))
		add(1, packet.ACK|packet.PSH, []byte("\x17\x03\x03\x00\x20"+string(g.payload[:32])))
	case f.kind < 8:
		f.pb = 22
		add(1, packet.ACK|packet.PSH, []byte("SSH-2.0-OpenSSH_9.2\r\n"))
		add(0, packet.ACK|packet.PSH, []byte("SSH-2.0-OpenSSH_9.2\r\n"))
	default:
		f.pb = uint16(1024 + g.r.IntN(10000))
	}
	for i := range data {
		if i%3 == 2 {
			add(0, packet.ACK, nil)
			continue
		}
		size := 1200
		if f.kind >= 8 {
			size = 200 + g.r.IntN(1200)
		}
		off := g.r.IntN(len(g.payload) - size)
		add(1, packet.ACK, g.payload[off:off+size])
	}
	if f.retransmit = g.r.IntN(5) == 0; f.retransmit {
		f.steps = append(f.steps, step{1, 0xff, g.payload[:100]}) // marks a repeat
	}
	if g.r.IntN(10) == 0 {
		add(0, packet.RST|packet.ACK, nil)
		return
	}
	add(1, packet.FIN|packet.ACK, nil)
	add(0, packet.FIN|packet.ACK, nil)
	add(1, packet.ACK, nil)
}

// synthHello is a small ClientHello for synth.example.
func synthHello() []byte {
	sni := "\x00\x00\x00\x12\x00\x10\x00\x00\x0dsynth.example"
	versions := "\x00\x2b\x00\x03\x02\x03\x04"
	ext := sni + versions
	body := "\x03\x03" + string(make([]byte, 32)) + "\x00\x00\x04\x13\x01\x13\x02\x01\x00" +
		string(binary.BigEndian.AppendUint16(nil, uint16(len(ext)))) + ext
	msg := "\x01\x00" + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
	return []byte("\x16\x03\x01" + string(binary.BigEndian.AppendUint16(nil, uint16(len(msg)))) + msg)
}

func (g *generator) udpSteps(f *flow, n int) {
	if f.kind < 6 {
		f.pb = 53
		query := fmt.Sprintf("%c%c\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05host%d\x07example\x00\x00\x01\x00\x01", g.r.IntN(256), g.r.IntN(128), g.r.IntN(10))
		answer := query[:2] + "\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + query[12:] + "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
		for i := 0; i < n; i += 2 {
			f.steps = append(f.steps, step{0, 0, []byte(query)}, step{1, 0, []byte(answer)})
		}
		return
	}
	f.pb = uint16(10000 + g.r.IntN(1000))
	for range n {
		f.steps = append(f.steps, step{g.r.IntN(2), 0, g.payload[:100+g.r.IntN(900)]})
	}
}

// send builds the frame of a step, with right checksums.
func (g *generator) send(f *flow, s step) {
	g.now += int64(g.r.IntN(120))
	b := append(g.buf[:0], "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"...)
	if f.vlan {
		b = append(b, 0x81, 0, 0, 42)
	}
	src, dst, sp, dp := f.a, f.b, f.pa, f.pb
	if s.from == 1 {
		src, dst, sp, dp = f.b, f.a, f.pb, f.pa
	}
	size := len(s.payload) + map[byte]int{packet.ProtoTCP: 20, packet.ProtoUDP: 8, packet.ProtoICMP: 8}[f.proto]
	proto := f.proto
	if f.v6 {
		if proto == packet.ProtoICMP {
			proto = packet.ProtoICMPv6
		}
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(size))
		b = append(append(append(b, proto, 64), src[:]...), dst[:]...)
	} else {
		b = append(b, 0x08, 0)
		ip := len(b)
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+size))
		b = append(b, 0, 0, 0x40, 0, 64, proto, 0, 0)
		b = append(append(b, src[12:]...), dst[12:]...)
		binary.BigEndian.PutUint16(b[ip+10:], ^packet.Sum(b[ip:], 0))
	}
	l4, at := len(b), 0
	switch f.proto {
	case packet.ProtoTCP:
		b, at = g.tcpHeader(b, f, &s, sp, dp), 16
	case packet.ProtoUDP:
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, sp), dp)
		b = append(binary.BigEndian.AppendUint16(b, uint16(size)), 0, 0)
		at = 6
	default:
		b = append(b, map[bool]map[int]byte{false: {0: 8, 1: 0}, true: {0: 128, 1: 129}}[f.v6][s.from], 0, 0, 0, 0, 1, 0, 1)
		at = 2
	}
	b = append(b, s.payload...)
	start := uint64(0)
	if proto != packet.ProtoICMP {
		start = uint64(size) + uint64(proto)
		a4, b4 := src[12:], dst[12:]
		if f.v6 {
			a4, b4 = src[:], dst[:]
		}
		start += uint64(packet.Sum(a4, 0)) + uint64(packet.Sum(b4, 0))
	}
	binary.BigEndian.PutUint16(b[l4+at:], ^packet.Sum(b[l4:], start))
	g.buf = b
	g.packets++
	g.emit(g.now, b)
}

func (g *generator) tcpHeader(b []byte, f *flow, s *step, sp, dp uint16) []byte {
	seq := f.seq[s.from]
	if s.flags == 0xff { // again what was sent last
		s.flags, seq = packet.ACK, seq-uint32(len(s.payload))
	} else {
		f.seq[s.from] += uint32(len(s.payload))
		if s.flags&(packet.SYN|packet.FIN) != 0 {
			f.seq[s.from]++
		}
	}
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, sp), dp)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, f.seq[1-s.from]*uint32(s.flags>>4&1))
	return append(b, 0x50, s.flags, 0x20, 0, 0, 0, 0, 0)
}

// generated writes a capture of n packets into a file and returns its path.
func generated(t testing.TB, n, flows int) (path string, packets int) {
	path = filepath.Join(t.TempDir(), "generated.pcap")
	f, err := os.Create(path)
	require.NoError(t, err)
	w := bufio.NewWriterSize(f, 1<<20)
	head := []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0}
	_, _ = w.Write(head)
	g := newGenerator(1, func(now int64, b []byte) {
		var h [16]byte
		binary.LittleEndian.PutUint32(h[:], uint32(now/1e6))
		binary.LittleEndian.PutUint32(h[4:], uint32(now%1e6))
		binary.LittleEndian.PutUint32(h[8:], uint32(len(b)))
		binary.LittleEndian.PutUint32(h[12:], uint32(len(b)))
		_, _ = w.Write(h[:])
		_, _ = w.Write(b)
	})
	g.run(n, flows, 1000)
	require.NoError(t, w.Flush())
	require.NoError(t, f.Close())
	return path, g.packets
}

// TestGeneratedTraffic: what was generated is what is found.
func TestGeneratedTraffic(t *testing.T) {
	path, packets := generated(t, 20_000, 400)
	a := New(Options{Content: true})
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, readCapture(b, func(p *format.Packet) { require.NoError(t, a.Feed(p)) }))
	require.NoError(t, a.Finish())
	checkAnalysis(t, a)
	total, services := uint64(0), map[string]int{}
	for c := range a.Conns() {
		total += c.OrigPkts + c.RespPkts
		services[c.Service]++
		require.NotContains(t, c.History, "C", "a checksum was generated right")
	}
	require.Equal(t, uint64(packets), total, "every packet is in a connection")
	require.Zero(t, a.Stats().NotIP+a.Stats().Malformed+a.Stats().Truncated+a.Stats().BadChecksum)
	for _, s := range []string{"http", "ssl", "dns"} {
		require.NotZero(t, services[s], s)
	}
	files := 0
	for f := range a.Files() {
		files++
		require.NotEmpty(t, f.URL)
	}
	require.NotZero(t, files)
}
