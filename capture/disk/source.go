//go:build linux

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/blktrace"
	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/format"
)

// DefaultRing is the memory for events between kernel and recorder where Config
// does not say, in bytes. Its pages are the kernel's.
const DefaultRing = 64 << 20

// Clock gives this host's CLOCK_MONOTONIC in ns; *capture.Clock is one.
type Clock interface{ Now() int64 }

// Config says what to record.
type Config struct {
	Device   string           // block device the backend uses: "/dev/mapper/guest", "/dev/loop3"
	Stream   format.StreamDef // Name ("xvda"), Domain, DomID, Epoch and Attrs; the rest is filled in
	Clock    Clock
	Blkback  bool          // xen-blkback serves it; else QEMU or another user of the device does
	NoReads  bool          // leave out reads, which carry no content
	NoBase   bool          // take no base image
	BaseRate int64         // bytes a second at most for the base image; 0 = as fast as an idle device allows
	Ring     int           // bytes; 0 = DefaultRing
	Settle   time.Duration // how long Run may take at the end to read back what was lost; 0 = 30 s
	SysFS    string        // "" = /sys
	DebugFS  string        // "" = /sys/kernel/debug; where the block tracer is, for kernels without BPF
	Closed   func()        // called when all of it is released; may be nil
	Opener   Opener        // opens what takes privilege; nil: this process does
}

// Opener opens a disk's device and the kernel's record of the requests to it, where
// this process may not.
type Opener interface {
	// Device opens the block device for reading past the page cache.
	Device() (*os.File, error)
	// Watch sees requests by BPF. Of the options, the device's number and size are
	// the opener's own affair.
	Watch(o bpf.Options) (*bpf.Blocks, error)
	// Trace sees requests by the block tracer.
	Trace() (blktrace.Control, []*os.File, error)
}

// probe is the kernel side; *bpf.Blocks is one.
type probe interface {
	Next(e *bpf.Event, deadline time.Time) error
	Touched(visit func(chunk uint64))
	Counters() (bpf.Counters, error)
	InFlight() (map[uint64]bool, error)
	Detach() error
	Close() error
}

// content is where the disk's content is read from; *device is one.
type content interface {
	read(b []byte, off uint64) error
}

// Source is a capture.Source for one disk.
type Source struct {
	c      Config
	dev    *device
	probe  probe
	sink   capture.Sink
	stream format.StreamID
	open   func() (probe, error)
	check  func(bpf.Options) error // what open would say
	end    string                  // what shows the end of requests
	notice string                  // why there is no payload, "" where there is
	base   *format.SnapshotWriter  // nil: none is taken
	begun  int64

	requests, lost, inFlight, unsure, based atomic.Uint64
	payload, unreadable                     atomic.Uint64
}

// New returns a source that is not attached yet.
func New(c Config) *Source {
	if c.Ring == 0 {
		c.Ring = DefaultRing
	}
	if c.Settle == 0 {
		c.Settle = 30 * time.Second
	}
	if c.SysFS == "" {
		c.SysFS = "/sys"
	}
	if c.DebugFS == "" {
		c.DebugFS = "/sys/kernel/debug"
	}
	s := &Source{c: c, check: bpf.Check}
	s.open = s.openBPF
	return s
}

// Name is the stream's name.
func (s *Source) Name() string { return s.c.Stream.Name }

// Status is what a source can say of itself while it runs.
type Status struct {
	Requests uint64 `json:"requests"`     // recorded
	Lost     uint64 `json:"lost"`         // requests of which something did not fit the ring
	InFlight uint64 `json:"in_flight"`    // begun and not ended
	Unsure   uint64 `json:"unsure_bytes"` // of the disk, to be read back
	Based    uint64 `json:"based_bytes"`  // of the base image, done
	Size     uint64 `json:"size_bytes"`   // of the disk
	Method   string `json:"method"`       // "ebpf" or "blktrace"
	Ends     string `json:"completions"`  // what shows the end of requests
}

// Status may be called from any goroutine, after Attach.
func (s *Source) Status() Status {
	return Status{
		Requests: s.requests.Load(), Lost: s.lost.Load(), InFlight: s.inFlight.Load(),
		Unsure: s.unsure.Load(), Based: s.based.Load(), Size: s.dev.size, Method: s.method(), Ends: s.end,
	}
}

// Loss is part of capture.LossReporter: a record is a request. What was lost of the
// disk's content is read back later, and then only its history is missing.
func (s *Source) Loss() capture.LossCounts {
	return capture.LossCounts{
		Observed: s.requests.Load(), Bytes: s.payload.Load(), Lost: s.lost.Load(), LostUnknown: s.unreadable.Load(),
	}
}

// Attach begins to watch the device and defines the stream. The image of the base
// is begun here, before any request is written.
func (s *Source) Attach(_ context.Context, sink capture.Sink) error {
	dev, err := s.openDevice()
	if err != nil {
		return fmt.Errorf("disk %s: %w", s.Name(), err)
	}
	s.dev, s.sink = dev, sink
	if s.probe, err = s.open(); err != nil {
		reason := err
		if s.probe, err = s.openTrace(); err != nil {
			return errors.Join(fmt.Errorf("disk %s: %w", s.Name(), reason), fmt.Errorf("and without BPF: %w", err), s.Close())
		}
		s.notice = fmt.Sprintf("disk %s: requests are recorded without their content: %v", s.Name(), reason)
	}
	if err := s.define(); err != nil {
		return errors.Join(fmt.Errorf("disk %s: define stream: %w", s.Name(), err), s.Close())
	}
	return nil
}

func (s *Source) openDevice() (*device, error) {
	if s.c.Opener == nil {
		return openDevice(s.c.Device, s.c.SysFS)
	}
	f, err := s.c.Opener.Device()
	if err != nil {
		return nil, err
	}
	return deviceOf(f, s.c.Device, s.c.SysFS)
}

// Notice says what of the disk is not recorded, and why; "" when everything is.
func (s *Source) Notice() string { return s.notice }

func (s *Source) openBPF() (probe, error) {
	s.end = s.chooseEnd(s.dev)
	open := bpf.Open
	if s.c.Opener != nil {
		open = s.c.Opener.Watch
	}
	b, err := open(bpf.Options{
		Major: s.dev.major, Minor: s.dev.minor, Size: s.dev.size, Ring: s.c.Ring, Reads: !s.c.NoReads, End: s.end,
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// openTrace is what is left where BPF is not to be had.
func (s *Source) openTrace() (probe, error) {
	s.end = "blktrace"
	control, files, err := s.trace()
	if err != nil {
		return nil, err
	}
	return blktrace.New(control, files, s.dev.start, !s.c.NoReads, s.c.Clock.Now), nil
}

func (s *Source) trace() (blktrace.Control, []*os.File, error) {
	if s.c.Opener != nil {
		return s.c.Opener.Trace()
	}
	t, err := blktrace.Start(s.c.Device, s.c.DebugFS)
	if err != nil {
		return nil, nil, err
	}
	return t, t.Files(), nil
}

// chooseEnd decides where the end of requests is seen. Devices that take bios show
// it for every user of the device; with a request queue the kernel does not trace
// it (blk-mq clears the flag, block/blk-mq.c), but blkback's own function shows it
// for the guest's requests.
func (s *Source) chooseEnd(dev *device) string {
	switch {
	case !dev.queue:
		return bpf.EndBio
	case s.c.Blkback && bpf.HasBlkback():
		return bpf.EndBlkback
	}
	return bpf.EndAny
}

func (s *Source) define() error {
	d := s.c.Stream
	s.begun = s.c.Clock.Now()
	d.Kind, d.Time, d.Size = format.StreamDisk, s.begun, s.dev.size
	d.Attrs = append(append([]format.Attr(nil), d.Attrs...),
		format.Attr{Name: "device", Value: s.c.Device},
		format.Attr{Name: "device-number", Value: fmt.Sprintf("%d:%d", s.dev.major, s.dev.minor)},
		format.Attr{Name: "method", Value: s.method()},
		format.Attr{Name: "completions", Value: s.end},
		format.Attr{Name: "reads", Value: strconv.FormatBool(!s.c.NoReads)})
	if s.notice != "" {
		d.Attrs = append(d.Attrs, format.Attr{Name: "notice", Value: s.notice})
	}
	id, err := s.sink.DefineStream(d)
	if err != nil {
		return err
	}
	s.stream = id
	if s.c.NoBase {
		return nil
	}
	b := format.SnapshotBegin{Pages: (s.dev.size + format.PageSize - 1) / format.PageSize}
	b.Time, b.Stream = s.begun, id
	s.base, err = s.sink.BeginSnapshot(b)
	return err
}

func (s *Source) method() string {
	if s.notice != "" {
		return "blktrace"
	}
	return "ebpf"
}

// Run records until ctx ends, then reads back what was lost, for as long as
// Config.Settle allows.
func (s *Source) Run(ctx context.Context) error {
	background, stop := context.WithCancel(ctx)
	base := make(chan error, 1)
	if s.base != nil {
		go func() { base <- s.copyBase(background, s.base, s.begun) }()
	} else {
		base <- nil
	}
	r := newRun(s, s.dev)
	r.order.noPayload = s.notice != ""
	err := r.record(ctx)
	stop()
	err = errors.Join(err, <-base, r.finish())
	if err != nil {
		return fmt.Errorf("disk %s: %w", s.Name(), err)
	}
	return nil
}

// Close releases the kernel side and the device.
func (s *Source) Close() error {
	var errs []error
	if s.probe != nil {
		errs = append(errs, s.probe.Close())
		s.probe = nil
	}
	if s.dev != nil {
		errs = append(errs, s.dev.close())
	}
	if s.c.Closed != nil {
		s.c.Closed()
	}
	return errors.Join(errs...)
}

// timedOut reports whether err is that of a deadline, not a failure.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
