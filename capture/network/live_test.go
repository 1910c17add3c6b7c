//go:build linux

package network

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/packetring"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// These tests record from real interfaces of this kernel. The test binary starts
// itself again in a network namespace of its own, as the host, and once more for
// each guest, with a veth pair between them as netfront and netback have.

const roleVariable = "XENTAPE_NETWORK_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "guest" {
		guestMain()
		return
	}
	os.Exit(m.Run())
}

// inHostNamespace runs the calling test in a child with its own network, where it
// has every capability over it, and reports whether this process is that child.
func inHostNamespace(t *testing.T) bool {
	if os.Getenv(roleVariable) == "host" {
		return true
	}
	_, err := exec.LookPath("ip")
	require.NoError(t, err, "ip (Debian package iproute2) makes the interfaces of this test")
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), roleVariable+"=host")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		id := func(of int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: of, Size: 1}} }
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = id(os.Getuid()), id(os.Getgid())
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		need.Able(t, mayMakeNamespaces(), "make a network namespace", err)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS")
	t.Logf("%s", out)
	return false
}

// mayMakeNamespaces says whether this process has CAP_SYS_ADMIN (bit 21), and the
// kernel has network namespaces.
func mayMakeNamespaces() bool {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), "CapEff:\t")
	caps, err := strconv.ParseUint(rest[:min(16, len(rest))], 16, 64)
	_, nserr := os.Stat("/proc/self/ns/net")
	return err == nil && nserr == nil && caps>>21&1 != 0
}

// mountSysFS puts the sysfs of the namespace this test runs in, which is not that
// of the machine, on /sys.
var mountSysFS = sync.OnceValue(func() error {
	private := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	return errors.Join(private, syscall.Mount("sysfs", "/sys", "sysfs", 0, ""))
})

// counter reads one of an interface's counters.
func counter(t *testing.T, vif, name string) int {
	t.Helper()
	require.NoError(t, mountSysFS())
	b, err := os.ReadFile(filepath.Join("/sys/class/net", vif, "statistics", name))
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	return n
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %v: %s", args, out)
}

// A guest is a process in another namespace that does what it is told, a line
// at a time.
type guest struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// newGuest makes guest n: its eth0 is 10.0.n.2, the host's vif n.0 is 10.0.n.1.
func newGuest(t *testing.T, n int) *guest {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"=guest")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	vif := fmt.Sprintf("vif%d.0", n)
	ip(t, "link", "add", vif, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(cmd.Process.Pid))
	ip(t, "addr", "add", fmt.Sprintf("10.0.%d.1/24", n), "dev", vif)
	ip(t, "link", "set", vif, "addrgenmode", "none", "up") // no IPv6: nothing is sent that the test does not send
	g := &guest{cmd, in, bufio.NewScanner(out)}
	g.tell(t, fmt.Sprintf("ip link set eth0 address 02:00:00:00:00:%02x", n))
	g.tell(t, fmt.Sprintf("ip addr add 10.0.%d.2/24 dev eth0", n))
	g.tell(t, "ip link set eth0 addrgenmode none up")
	return g
}

func (g *guest) tell(t *testing.T, line string) string {
	t.Helper()
	_, err := fmt.Fprintln(g.in, line)
	require.NoError(t, err)
	require.True(t, g.out.Scan(), "guest ended at %q", line)
	require.NotContains(t, g.out.Text(), "error", line)
	return g.out.Text()
}

func guestMain() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		f := strings.Fields(in.Text())
		var err error
		switch f[0] {
		case "ip":
			var out []byte
			if out, err = exec.Command("ip", f[1:]...).CombinedOutput(); err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
		case "send": // send ADDRESS SEED BYTES over TCP, wait for the other side to close
			err = sendTCP(f[1], f[2], f[3])
		case "flood": // flood ADDRESS COUNT UDP datagrams
			err = floodUDP(f[1], f[2])
		}
		if err != nil {
			fmt.Println("error:", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("ok")
	}
}

// content is n bytes that tell their place and their seed.
func content(seed string, n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s %d\n", seed, i)
	}
	return b.Bytes()[:n]
}

func sendTCP(addr, seed, bytes string) error {
	var n int
	if _, err := fmt.Sscan(bytes, &n); err != nil {
		return err
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(content(seed, n)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

func floodUDP(addr, count string) error {
	var n int
	if _, err := fmt.Sscan(count, &n); err != nil {
		return err
	}
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for range n {
		if _, err := c.Write(make([]byte, 1000)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return nil
}

// memorySink keeps what a source writes. A packet waits until held, if not nil, is closed.
type memorySink struct {
	mu      sync.Mutex
	streams []format.StreamDef
	packets []format.Packet
	gaps    []format.Gap
	events  []format.Event
	held    chan struct{}
}

func (m *memorySink) DefineStream(d format.StreamDef) (format.StreamID, error) {
	m.streams = append(m.streams, d)
	return format.StreamID(len(m.streams)), nil
}

func (m *memorySink) BeginSnapshot(format.SnapshotBegin) (*format.SnapshotWriter, error) {
	return nil, errors.New("packets have no image")
}

func (m *memorySink) Write(r format.Record) error {
	if _, ok := r.(*format.Packet); ok && m.held != nil {
		<-m.held
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r := r.(type) {
	case *format.Packet:
		p := *r
		p.Data = bytes.Clone(r.Data)
		m.packets = append(m.packets, p)
	case *format.Gap:
		m.gaps = append(m.gaps, *r)
	case *format.Event:
		m.events = append(m.events, *r)
	}
	return nil
}

// record attaches to vif and returns a function that ends the recording.
func record(t *testing.T, vif string, sink *memorySink, buffer int) (s *Source, stop func()) {
	clock, err := capture.NewClock()
	require.NoError(t, err)
	clock.Anchor()
	require.NoError(t, mountSysFS())
	c := Config{Interface: vif, Stream: format.StreamDef{Name: "vif0"}, Clock: clock, Buffer: buffer}
	if vif == "vif2.0" { // the second guest's socket comes from elsewhere, as from a broker
		c.Opener = func(ring int) (*os.File, *net.Interface, error) {
			dev, err := net.InterfaceByName(vif)
			if err != nil {
				return nil, nil, err
			}
			fd, err := packetring.Socket(dev.Index, ring)
			return os.NewFile(uintptr(fd), "packet socket"), dev, err
		}
	}
	s = New(c)
	require.NoError(t, s.Attach(t.Context(), sink))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		t.Helper()
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, s.Close())
	}
}

// receive accepts one connection and answers with its own content.
func receive(t *testing.T, addr, seed string, n int) {
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(io.Discard, c)
		c.Write(content(seed, n))
		c.Close()
	}()
}

// tcpStream puts a connection's payload together from one direction's frames.
func tcpStream(packets []format.Packet, dir format.Direction) []byte {
	var out []byte
	var first uint32
	for _, p := range packets {
		if p.Direction != dir || len(p.Data) < 54 || binary.BigEndian.Uint16(p.Data[12:]) != 0x0800 || p.Data[23] != 6 {
			continue
		}
		b := p.Data[14:]
		b = b[:binary.BigEndian.Uint16(b[2:])]
		tcp := b[int(b[0]&15)*4:]
		seq, payload := binary.BigEndian.Uint32(tcp[4:]), tcp[int(tcp[12]>>4)*4:]
		if tcp[13]&2 != 0 {
			first = seq + 1
			continue
		}
		if len(payload) == 0 {
			continue
		}
		at := int(seq - first)
		if need := at + len(payload); need > len(out) && need < 1<<26 {
			out = append(out, make([]byte, need-len(out))...)
		}
		copy(out[at:], payload)
	}
	return out
}

// Two guests at once: each recording holds its guest's bytes, both ways, whole,
// and not one frame of the other.
func TestTwoGuestsAtOnce(t *testing.T) {
	if !inHostNamespace(t) {
		return
	}
	const up, down = 4 << 20, 1 << 20
	guests := []*guest{newGuest(t, 1), newGuest(t, 2)}
	sinks := []*memorySink{{}, {}}
	var stops []func()
	for i := range guests {
		vif := fmt.Sprintf("vif%d.0", i+1)
		_, stop := record(t, vif, sinks[i], 16<<20)
		stops = append(stops, stop)
		receive(t, fmt.Sprintf("10.0.%d.1:9000", i+1), fmt.Sprintf("down%d", i+1), down)
	}
	before := time.Now()
	var wg sync.WaitGroup
	for i, g := range guests {
		wg.Go(func() { g.tell(t, fmt.Sprintf("send 10.0.%d.1:9000 up%d %d", i+1, i+1, up)) })
	}
	wg.Wait()
	for _, stop := range stops {
		stop()
	}
	for i, s := range sinks {
		require.Empty(t, s.gaps)
		require.True(t, bytes.Equal(content(fmt.Sprintf("up%d", i+1), up), tcpStream(s.packets, format.FromGuest)), "from guest %d", i+1)
		require.True(t, bytes.Equal(content(fmt.Sprintf("down%d", i+1), down), tcpStream(s.packets, format.ToGuest)), "to guest %d", i+1)
		requireFrames(t, s, byte(i+1), before)
	}
}

// requireFrames checks what every frame of guest n must be.
func requireFrames(t *testing.T, s *memorySink, n byte, before time.Time) {
	mac := []byte{2, 0, 0, 0, 0, n}
	super, partial, largest := 0, 0, 0
	for i, p := range s.packets {
		ours := p.Data[6:12]
		if p.Direction == format.ToGuest {
			ours = p.Data[:6]
		}
		if ours[0]&1 == 0 { // multicast has no guest in it
			require.Equal(t, mac, ours, "frame %d direction %d", i, p.Direction)
		}
		require.Equal(t, int(p.OrigLen), len(p.Data), "frame %d is whole", i)
		largest = max(largest, len(p.Data))
		if p.VNet != nil && p.VNet.GSOType&0x7f == 1 {
			super++
			require.Positive(t, p.VNet.GSOSize)
		}
		if p.VNet != nil && p.VNet.Flags&1 != 0 {
			partial++
		}
		require.Less(t, p.Uncertainty, uint32(50e6), "frame %d: 500 ppm of the seconds since the only anchor", i)
		if i > 0 {
			require.GreaterOrEqual(t, p.Time, s.packets[i-1].Time-int64(p.Uncertainty), "frame %d", i)
		}
	}
	require.Greater(t, largest, 1514, "segmentation was left to the backend")
	require.Positive(t, super)
	require.Positive(t, partial)
	t.Logf("guest %d: %d frames, %d super-frames, largest %d bytes, %d with partial checksums, in %v",
		n, len(s.packets), super, largest, partial, time.Since(before).Round(time.Millisecond))
}

// When the recorder is too slow, every frame is either on the tape or counted in
// a gap, and the guest's traffic does not stop.
func TestOverflowIsCounted(t *testing.T) {
	if !inHostNamespace(t) {
		return
	}
	const sent = 20000
	g := newGuest(t, 1)
	sink := &memorySink{held: make(chan struct{})}
	before := counter(t, "vif1.0", "rx_packets") + counter(t, "vif1.0", "tx_packets")
	s, stop := record(t, "vif1.0", sink, 256<<10)
	g.tell(t, fmt.Sprintf("flood 10.0.1.1:7 %d", sent))
	close(sink.held)
	time.Sleep(300 * time.Millisecond)
	stop()
	udp, lost := 0, uint64(0)
	for _, p := range sink.packets {
		if p.Direction == format.FromGuest && len(p.Data) == 1042 {
			udp++
		}
	}
	require.NotEmpty(t, sink.gaps, "the ring of 256 KiB held 20 MB")
	for _, gap := range sink.gaps {
		require.Equal(t, format.GapOverflow, gap.Reason)
		require.Less(t, gap.From, gap.To)
		lost += gap.Count
	}
	require.Equal(t, lost, s.Lost())
	passed := counter(t, "vif1.0", "rx_packets") + counter(t, "vif1.0", "tx_packets") - before
	t.Logf("%d sent, %d recorded, %d lost; the interface passed %d frames", sent, udp, lost, passed)
	require.Equal(t, passed, len(sink.packets)+int(lost), "each frame is on the tape or counted")
	require.Greater(t, passed, sent*9/10)
}

// A vif that goes away ends its source with an event; one that is not up yet can
// be attached before the guest sends its first frame.
func TestInterfaceComesAndGoes(t *testing.T) {
	if !inHostNamespace(t) {
		return
	}
	ip(t, "link", "add", "vif9.0", "type", "veth", "peer", "name", "peer0")
	clock, err := capture.NewClock()
	require.NoError(t, err)
	clock.Anchor()
	sink := &memorySink{}
	s := New(Config{Interface: "vif9.0", Stream: format.StreamDef{Name: "vif0"}, Clock: clock})
	require.NoError(t, s.Attach(t.Context(), sink))
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	ip(t, "link", "set", "peer0", "up")
	ip(t, "link", "set", "vif9.0", "up")
	require.Eventually(t, func() bool { return s.Packets() > 0 }, 10*time.Second, 10*time.Millisecond,
		"the frames an interface sends when it comes up")
	ip(t, "link", "del", "vif9.0")
	require.NoError(t, <-done)
	require.NoError(t, s.Close())
	require.NotEmpty(t, sink.events)
	require.Equal(t, "vif-detached", sink.events[len(sink.events)-1].Kind)
	require.Equal(t, format.Attr{Name: "device", Value: "vif9.0"}, sink.streams[0].Attrs[0])
	require.Error(t, New(Config{Interface: "vif77.0", Clock: clock}).Attach(t.Context(), sink))
}
