// Package lifecycle records the life of a guest: that it appears, reboots, shuts
// down, goes away, and gets and loses devices. Identity is the UUID; each time the
// guest is built anew is a boot epoch.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/domains"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/internal/xenstore"
	"github.com/xentape/xentape/format"
)

// Config says whose life to record. All fields but OnChange, Epoch and Poll must be set.
type Config struct {
	Directory *domains.Directory
	Clock     *capture.Clock
	UUID      [16]byte
	Epoch     uint32        // of the guest as it is now
	Poll      time.Duration // between looks without a watch event; 1 s
	// OnChange is called, in Run's goroutine, after a change is on the tape.
	OnChange func(context.Context, Change)
}

// Kind is what changed; it is also the kind of the event on the tape.
type Kind string

// The kinds of change.
const (
	Rebooted     Kind = "domain-rebooted"
	Resumed      Kind = "domain-resumed" // a new domain goes on from where the last one was suspended
	Started      Kind = "domain-started" // the toolstack lets it run for the first time
	ShutDown     Kind = "domain-shutdown"
	Continued    Kind = "domain-continued" // the domain itself runs again, as after xl save -c
	Gone         Kind = "domain-gone"
	DiskAttached Kind = "disk-attached"
	DiskDetached Kind = "disk-detached"
	VifAttached  Kind = "vif-attached"
	VifDetached  Kind = "vif-detached"
)

// Change is one change in the life of a guest.
type Change struct {
	Kind  Kind
	Guest *domains.Guest // as it is after the change; as it last was for Gone
	Epoch uint32
	Disk  *domains.Disk // for the disk kinds
	Vif   *domains.Vif  // for the vif kinds
}

// Source is a capture.Source for the guest stream.
type Source struct {
	cfg    Config
	sink   capture.Sink
	stream format.StreamID
	now    *domains.Guest // nil: there is none
	last   *domains.Guest // the latest that there was
	epoch  uint32
	down   string // reason of the shutdown that was reported for now
	begins bool   // it has not run yet
	owed   int64  // when to put down that there is no configuration; 0: no need
	loss   capture.Loss

	hashing sync.WaitGroup  // kernels being hashed
	calm    context.Context // they are without haste until it ends
	hurry   func()          // ends calm; nil: not attached
}

// New makes a source.
func New(c Config) *Source {
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	return &Source{cfg: c, epoch: c.Epoch}
}

// Name is part of capture.Source.
func (s *Source) Name() string { return "guest" }

// Attach defines the stream and puts down how the guest is now.
func (s *Source) Attach(ctx context.Context, sink capture.Sink) error {
	g, err := s.cfg.Directory.ByUUID(ctx, s.cfg.UUID)
	if err != nil {
		return err
	}
	if g == nil {
		return fmt.Errorf("guest %s: %w", domains.FormatUUID(s.cfg.UUID), hypercall.ErrNoDomain)
	}
	s.sink, s.now, s.last = sink, g, g
	s.calm, s.hurry = context.WithCancel(ctx)
	d := format.StreamDef{
		Kind: format.StreamGuest, Name: "guest", Domain: g.UUID, DomID: g.Domain, Epoch: s.epoch,
		Size: g.Pages * format.PageSize,
		Attrs: append([]format.Attr{
			{Name: "guest-name", Value: g.Name},
			{Name: "guest-type", Value: g.Type},
			{Name: "vcpus", Value: fmt.Sprint(g.VCPUs)},
		}, s.cfg.Directory.HypervisorAttrs()...),
	}
	d.Time = s.cfg.Clock.Now()
	if s.stream, err = sink.DefineStream(d); err != nil {
		return err
	}
	s.begins = s.building(g)
	return s.describe(ctx, g)
}

func (s *Source) building(g *domains.Guest) bool {
	info, err := s.cfg.Directory.Xen.DomainInfo(g.Domain)
	return err == nil && info.Building()
}

// describe attaches what the toolstack has on the guest. What cannot be had is an
// event.
func (s *Source) describe(ctx context.Context, g *domains.Guest) error {
	tree, err := s.cfg.Directory.Xenstore(ctx, g)
	if err != nil {
		s.event("description-missing", "part", "xenstore", "reason", err.Error())
	}
	if err := s.attach("xenstore", tree); err != nil {
		return err
	}
	s.owed = s.cfg.Clock.Now() + configPatience.Nanoseconds()
	return s.configure(ctx, g, false)
}

// configPatience is how long after a domain appears its configuration may: libxl writes
// it when the domain is complete.
const configPatience = 30 * time.Second

// configure attaches libxl's configuration, and says which kernel it names. That there
// is none is told in the end.
func (s *Source) configure(ctx context.Context, g *domains.Guest, last bool) error {
	config, err := s.cfg.Directory.Config(g)
	if err != nil && !last && s.cfg.Clock.Now() < s.owed {
		return nil
	}
	s.owed = 0
	if err != nil {
		s.event("description-missing", "part", "xl/config", "reason", err.Error())
		return nil
	}
	if err := s.attach("xl/config", config); err != nil {
		return err
	}
	s.hashing.Go(func() { s.kernel(g, config) })
	return nil
}

// kernel says which kernel the guest was built from. Hashing it takes its time; the
// other sources do not wait for that.
func (s *Source) kernel(g *domains.Guest, config []byte) {
	attrs, err := s.cfg.Directory.KernelAttrs(s.calm, g, config)
	if err != nil {
		s.event("description-missing", "part", "kernel", "reason", err.Error())
	} else if attrs != nil {
		s.put("guest-kernel", attrs)
	}
}

func (s *Source) attach(name string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	a := format.Attachment{Name: name, Data: data}
	a.Stream, a.Time = s.stream, s.cfg.Clock.Now()
	return s.sink.Write(&a)
}

// Run watches until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	defer s.hashing.Wait()
	defer s.hurry()
	changed := make(chan string, 1)
	// Looking is level-triggered: one pending event is as good as many.
	for token, path := range map[string]string{
		"introduce": "@introduceDomain", "release": "@releaseDomain",
		"vbd": "/local/domain/0/backend/vbd", "vif": "/local/domain/0/backend/vif",
	} {
		if err := s.cfg.Directory.Store.Watch(ctx, path, s.token(token), changed); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		defer s.cfg.Directory.Store.Unwatch(context.WithoutCancel(ctx), path, s.token(token))
	}
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			if s.owed != 0 {
				return s.configure(ctx, s.last, true)
			}
			return nil
		case _, open := <-changed:
			if !open {
				return errors.New("xenstored is gone: changes of the guest are not seen any more")
			}
			err = s.look(ctx)
		case <-tick.C:
			err = s.poll(ctx)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// poll looks at the domain alone; xenstore is looked at when that is not as it was.
func (s *Source) poll(ctx context.Context) error {
	if s.now == nil {
		return s.look(ctx)
	}
	info, err := s.cfg.Directory.Xen.DomainInfo(s.now.Domain)
	if err != nil || info.Handle != s.cfg.UUID || info.Gone() {
		return s.look(ctx)
	}
	s.state(ctx, s.now)
	if s.owed != 0 {
		return s.configure(ctx, s.now, false)
	}
	return nil
}

func (s *Source) token(what string) string {
	return fmt.Sprintf("xentape-%p-%s", s, what)
}

// look compares the guest with how it was, and tells the differences.
func (s *Source) look(ctx context.Context) error {
	g, err := s.cfg.Directory.ByUUID(ctx, s.cfg.UUID)
	if errors.Is(err, xenstore.ErrNotExist) {
		return nil // the tree changed while it was read; the next look sees it
	}
	if err != nil {
		return err
	}
	was := s.now
	s.now = g
	if g != nil {
		s.last = g
	}
	switch {
	case g == nil && was == nil:
		return nil
	case g == nil:
		s.tell(ctx, Change{Kind: Gone, Guest: was}, "reason", s.reason())
	case was == nil || was.Domain != g.Domain:
		if was != nil {
			s.state(ctx, was) // how it ended says what the new one is
		}
		kind := Rebooted
		if s.down == suspended {
			kind = Resumed
		}
		s.down, s.begins = "", s.building(g) // before it is told of: who asks later knows no less
		s.epoch++
		s.tell(ctx, Change{Kind: kind, Guest: g}, "epoch", fmt.Sprint(s.epoch))
		return s.describe(ctx, g)
	default:
		s.devices(ctx, was, g)
		s.state(ctx, g)
	}
	return nil
}

// reason is why a guest is gone. One that migrates or is saved suspends itself before.
func (s *Source) reason() string {
	switch s.down {
	case "":
		return "destroyed"
	case suspended:
		return "suspended: saved, or migrated away"
	}
	return s.down
}

// shutdownReasons are the names of SHUTDOWN_* (xen/include/public/sched.h).
var shutdownReasons = []string{"poweroff", "reboot", suspended, "crash", "watchdog", "soft-reset"}

const suspended = "suspend"

// state tells once that the guest begins to run, that it has shut down, and why, or
// that it runs again.
func (s *Source) state(ctx context.Context, g *domains.Guest) {
	info, err := s.cfg.Directory.Xen.DomainInfo(g.Domain)
	if err != nil {
		return // gone: the next look tells
	}
	if s.begins && !info.Building() {
		s.begins = false
		s.tell(ctx, Change{Kind: Started, Guest: g})
	}
	code, down := info.ShutdownReason()
	if !down {
		if s.down != "" {
			s.down = ""
			s.tell(ctx, Change{Kind: Continued, Guest: g})
		}
		return
	}
	reason := fmt.Sprintf("reason %d", code)
	if int(code) < len(shutdownReasons) {
		reason = shutdownReasons[code]
	}
	if s.down != reason {
		s.down = reason
		s.tell(ctx, Change{Kind: ShutDown, Guest: g}, "reason", reason)
	}
}

func (s *Source) devices(ctx context.Context, was, g *domains.Guest) {
	disks, vifs := map[int]*domains.Disk{}, map[int]*domains.Vif{}
	for i := range was.Disks {
		disks[was.Disks[i].VDev] = &was.Disks[i]
	}
	for i := range was.Vifs {
		vifs[was.Vifs[i].Handle] = &was.Vifs[i]
	}
	// Interfaces first: they are quick to record, and what a guest sends at once counts.
	for i := range g.Vifs {
		v := &g.Vifs[i]
		if vifs[v.Handle] == nil {
			s.tell(ctx, Change{Kind: VifAttached, Guest: g, Vif: v}, "handle", fmt.Sprint(v.Handle), "interface", v.Interface, "mac", v.MAC, "bridge", v.Bridge)
		}
		delete(vifs, v.Handle)
	}
	for i := range g.Disks {
		d := &g.Disks[i]
		old := disks[d.VDev]
		delete(disks, d.VDev)
		// A disk is there once its backend has opened the device.
		if d.PhysicalDevice != "" && (old == nil || old.PhysicalDevice != d.PhysicalDevice) {
			s.tell(ctx, Change{Kind: DiskAttached, Guest: g, Disk: d}, "name", d.Name, "vdev", fmt.Sprint(d.VDev), "physical-device", d.PhysicalDevice, "params", d.Params, "mode", d.Mode)
		}
	}
	for _, d := range was.Disks {
		if disks[d.VDev] != nil {
			s.tell(ctx, Change{Kind: DiskDetached, Guest: g, Disk: &d}, "name", d.Name, "vdev", fmt.Sprint(d.VDev))
		}
	}
	for _, v := range was.Vifs {
		if vifs[v.Handle] != nil {
			s.tell(ctx, Change{Kind: VifDetached, Guest: g, Vif: &v}, "handle", fmt.Sprint(v.Handle), "interface", v.Interface)
		}
	}
}

// tell puts a change on the tape and passes it on.
func (s *Source) tell(ctx context.Context, c Change, attrs ...string) {
	c.Epoch = s.epoch
	s.event(string(c.Kind), append([]string{"domid", fmt.Sprint(c.Guest.Domain)}, attrs...)...)
	if s.cfg.OnChange != nil {
		s.cfg.OnChange(ctx, c)
	}
}

func (s *Source) event(kind string, attrs ...string) {
	var as []format.Attr
	for i := 0; i+1 < len(attrs); i += 2 {
		as = append(as, format.Attr{Name: attrs[i], Value: attrs[i+1]})
	}
	s.put(kind, as)
}

func (s *Source) put(kind string, attrs []format.Attr) {
	e := format.Event{Kind: kind, Attrs: attrs}
	e.Stream, e.Time = s.stream, s.cfg.Clock.Now()
	if err := s.sink.Write(&e); err != nil {
		s.loss.SinkFailed()
		return
	}
	s.loss.Observe(0)
}

// Loss is part of capture.LossReporter.
func (s *Source) Loss() capture.LossCounts { return s.loss.Loss() }

// Close is part of capture.Source.
func (s *Source) Close() error {
	if s.hurry != nil {
		s.hurry()
	}
	s.hashing.Wait()
	return nil
}
