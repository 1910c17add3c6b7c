//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/packetring"
	"github.com/xentape/xentape/format"
)

// DefaultBuffer is the ring's size in bytes where Config does not say.
const DefaultBuffer = 16 << 20

// Clock gives this host's time; *capture.Clock is one.
type Clock interface {
	Now() int64 // CLOCK_MONOTONIC, ns
	// Monotonic converts CLOCK_REALTIME, which is what the kernel stamps packets with.
	Monotonic(realtime int64) (mono int64, uncertainty uint32)
}

// Config says what to record.
type Config struct {
	Interface string           // name on this host: "vif3.0"
	Stream    format.StreamDef // Name ("vif0"), Domain, DomID, Epoch and Attrs; the rest is filled in
	Clock     Clock
	Buffer    int    // bytes of ring; 0 = DefaultBuffer
	SysFS     string // "" = /sys
	Closed    func() // called when the ring is released; may be nil
	Opener    Opener // opens the socket; nil: this process does
}

// Opener opens a packet socket, bound to the interface with a ring of so many bytes,
// where this process may not. It says which interface that is.
type Opener func(ring int) (socket *os.File, device *net.Interface, err error)

// Source is a capture.Source for one interface.
type Source struct {
	c       Config
	ring    *packetring.Ring
	sink    capture.Sink
	index   int
	stream  format.StreamID
	link    uint16
	scratch []byte
	counted int64 // when the kernel's counters were last read
	refused uint64

	packets, bytes, dropped atomic.Uint64
}

// New returns a source that is not attached yet.
func New(c Config) *Source {
	if c.Buffer == 0 {
		c.Buffer = DefaultBuffer
	}
	if c.SysFS == "" {
		c.SysFS = "/sys"
	}
	return &Source{c: c}
}

// Name is the stream's name.
func (s *Source) Name() string { return s.c.Stream.Name }

// Packets is how many frames were recorded so far.
func (s *Source) Packets() uint64 { return s.packets.Load() }

// Lost is how many frames the kernel counted and the recorder had no room for.
func (s *Source) Lost() uint64 { return s.dropped.Load() }

// Loss is part of capture.LossReporter: a record is a frame.
func (s *Source) Loss() capture.LossCounts {
	return capture.LossCounts{Observed: s.packets.Load(), Bytes: s.bytes.Load(), Lost: s.dropped.Load()}
}

// Attach opens the ring, which starts to fill at once, and defines the stream.
func (s *Source) Attach(_ context.Context, sink capture.Sink) error {
	ring, dev, err := s.open()
	if err != nil {
		return fmt.Errorf("interface %s: %w", s.c.Interface, err)
	}
	s.ring, s.sink, s.index = ring, sink, dev.Index
	if s.link, err = linkType(ring.HardwareType()); err != nil {
		return errors.Join(fmt.Errorf("interface %s: %w", s.c.Interface, err), s.Close())
	}
	if err := s.define(dev); err != nil {
		return errors.Join(fmt.Errorf("interface %s: define stream: %w", s.c.Interface, err), s.Close())
	}
	s.counted = s.c.Clock.Now()
	s.refused, _ = s.readRefused()
	return nil
}

// open opens the ring, here or by the opener.
func (s *Source) open() (*packetring.Ring, *net.Interface, error) {
	if s.c.Opener == nil {
		dev, err := net.InterfaceByName(s.c.Interface)
		if err != nil {
			return nil, nil, err
		}
		ring, err := packetring.Open(dev.Index, s.c.Buffer)
		return ring, dev, err
	}
	socket, dev, err := s.c.Opener(s.c.Buffer)
	if err != nil {
		return nil, nil, err
	}
	defer socket.Close()
	fd, err := unix.FcntlInt(socket.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("packet socket: %w", err)
	}
	ring, err := packetring.FromSocket(fd, s.c.Buffer)
	return ring, dev, err
}

func (s *Source) define(dev *net.Interface) error {
	d := s.c.Stream
	d.Kind, d.Time = format.StreamNetwork, s.c.Clock.Now()
	d.Attrs = append(append([]format.Attr(nil), d.Attrs...),
		format.Attr{Name: "device", Value: s.c.Interface},
		format.Attr{Name: "ifindex", Value: strconv.Itoa(dev.Index)},
		format.Attr{Name: "link-type", Value: strconv.Itoa(int(s.link))},
		format.Attr{Name: "mtu", Value: strconv.Itoa(dev.MTU)},
		format.Attr{Name: "backend-mac", Value: dev.HardwareAddr.String()},
		format.Attr{Name: "method", Value: "af-packet"})
	if master, err := os.Readlink(filepath.Join(s.c.SysFS, "class/net", s.c.Interface, "master")); err == nil {
		d.Attrs = append(d.Attrs, format.Attr{Name: "bridge", Value: filepath.Base(master)})
	}
	id, err := s.sink.DefineStream(d)
	s.stream = id
	return err
}

// linkType maps ARPHRD_ values to the pcap registry's LINKTYPE_.
func linkType(hardware uint16) (uint16, error) {
	const ethernet, loopback, none = 1, 772, 0xfffe
	switch hardware {
	case ethernet, loopback:
		return 1, nil
	case none:
		return 101, nil
	}
	return 0, fmt.Errorf("hardware type %d is not recorded", hardware)
}

// How often the ring is looked at when nothing happens, which bounds how long Run
// takes to see that its context ended; and how often counters are read.
const (
	waitMillis  = 100
	countPeriod = time.Second
)

// Run records until ctx ends or the interface is gone; the latter is an event on
// the tape and not an error.
func (s *Source) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.ring.Wait(waitMillis)
		if errors.Is(err, packetring.ErrDown) {
			if gone, err := s.down(); gone || err != nil {
				return errors.Join(err, s.finish())
			}
			err = nil
		}
		if err == nil {
			err = s.drain(ctx)
		}
		if err == nil && s.c.Clock.Now()-s.counted >= int64(countPeriod) {
			err = s.count()
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", s.c.Interface, errors.Join(err, s.finish()))
		}
	}
	return s.finish()
}

// drain takes the blocks that are ready; while frames keep coming it returns
// each second for the counters.
func (s *Source) drain(ctx context.Context) error {
	for ctx.Err() == nil && s.c.Clock.Now()-s.counted < int64(countPeriod) {
		if more, err := s.ring.Take(s.record); !more || err != nil {
			return err
		}
	}
	return nil
}

// finish takes what the kernel has already closed, waiting once for the block in
// progress, and reads the counters a last time.
func (s *Source) finish() error {
	deadline := s.c.Clock.Now() + 2*int64(waitMillis)*int64(time.Millisecond)
	for s.c.Clock.Now() < deadline {
		more, err := s.ring.Take(s.record)
		if err != nil {
			return err
		}
		if !more {
			if err := s.ring.Wait(waitMillis); err != nil && !errors.Is(err, packetring.ErrDown) {
				return err
			}
		}
	}
	return s.count()
}

// down is called when the interface went down; it reports whether it is gone.
func (s *Source) down() (bool, error) {
	gone := !s.exists()
	kind := "vif-down"
	if gone {
		kind = "vif-detached"
	}
	e := &format.Event{Kind: kind, Attrs: []format.Attr{{Name: "device", Value: s.c.Interface}}}
	e.Time, e.Stream = s.c.Clock.Now(), s.stream
	return gone, s.sink.Write(e)
}

// exists says whether the interface is still there. Without privilege it is not asked
// of the kernel's sockets but of sysfs.
func (s *Source) exists() bool {
	if s.c.Opener == nil {
		_, err := net.InterfaceByIndex(s.index)
		return err == nil
	}
	b, err := os.ReadFile(filepath.Join(s.c.SysFS, "class/net", s.c.Interface, "ifindex"))
	return err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(s.index)
}

// record writes one frame.
func (s *Source) record(f *packetring.Frame) error {
	s.scratch = f.AppendWire(s.scratch[:0])
	p := format.Packet{
		LinkType: s.link, Direction: format.FromGuest, OrigLen: f.Length,
		VNet: virtioNet(f), Data: s.scratch,
	}
	if f.Type == packetring.Outgoing {
		p.Direction = format.ToGuest
	}
	if extra := len(s.scratch) - len(f.Data); extra > 0 { // the tag was put back
		p.OrigLen += uint32(extra)
	}
	p.Stream = s.stream
	p.Time, p.Uncertainty = s.c.Clock.Monotonic(int64(f.Sec)*1e9 + int64(f.Nsec))
	s.packets.Add(1)
	s.bytes.Add(uint64(len(s.scratch)))
	return s.sink.Write(&p)
}

// count turns the kernel's counters into records.
func (s *Source) count() error {
	st, err := s.ring.Stats()
	if err != nil {
		return err
	}
	now := s.c.Clock.Now()
	from := s.counted
	s.counted = now
	var errs []error
	if st.Drops > 0 {
		s.dropped.Add(uint64(st.Drops))
		g := &format.Gap{
			From: from, To: now, Reason: format.GapOverflow, Count: uint64(st.Drops),
			Detail: fmt.Sprintf("%d of %d frames found the ring of %d bytes full", st.Drops, st.Packets, s.c.Buffer),
		}
		g.Time, g.Stream = now, s.stream
		errs = append(errs, s.sink.Write(g))
	}
	refused, err := s.readRefused()
	if err == nil && refused > s.refused {
		e := &format.Event{Kind: "vif-tx-dropped", Attrs: []format.Attr{
			{Name: "count", Value: strconv.FormatUint(refused-s.refused, 10)},
			{Name: "from", Value: strconv.FormatInt(from, 10)},
		}}
		e.Time, e.Stream = now, s.stream
		errs = append(errs, s.sink.Write(e))
		s.refused = refused
	}
	return errors.Join(errs...)
}

// readRefused reads how many frames the backend did not deliver to the guest.
func (s *Source) readRefused() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(s.c.SysFS, "class/net", s.c.Interface, "statistics/tx_dropped"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// Close releases the ring.
func (s *Source) Close() error {
	if s.c.Closed != nil {
		defer s.c.Closed()
	}
	if s.ring == nil {
		return nil
	}
	r := s.ring
	s.ring = nil
	return r.Close()
}
