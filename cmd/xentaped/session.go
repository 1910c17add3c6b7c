package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/lifecycle"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/capture/network"
	"github.com/xentape/xentape/format"
)

// sources says what of a guest is recorded.
type sources struct {
	memory    bool
	memConfig memory.Config // what does not depend on the guest
	network   bool
	vifs      []int // handles; empty: all
	disk      bool
	disks     []string // names, as the guest has them; empty: all
	base      bool     // take the disks' content at the beginning
	rolling   bool     // unless the segment before has it
	reads     bool     // note reads
	ring      int      // bytes of event memory for each disk
}

func (s *sources) wantsDisk(name string) bool {
	return s.disk && (len(s.disks) == 0 || slices.Contains(s.disks, name))
}

func (s *sources) wantsVif(handle int) bool {
	return s.network && (len(s.vifs) == 0 || slices.Contains(s.vifs, handle))
}

// session is the recording of one guest: its sources, put up anew when the guest is
// built anew.
type session struct {
	host     *host.Host
	privs    *privileges
	guard    *guard.Client
	recorder *capture.Recorder
	clock    *capture.Clock
	want     sources
	shares   *shares // nil: no bound
	console  *console
	uuid     [16]byte
	started  time.Time
	gone     func() // called instead of waiting for the guest to come back; nil: wait

	mu         sync.Mutex
	remembers  bool                      // memory is recorded, or was tried to be
	mem        *memory.Source            // nil: memory is not recorded now
	tree       *host.Tree                // of the guest whose memory is recorded
	devices    map[string]capture.Source // disks and interfaces being recorded, by stream name
	epoch      uint32                    // of the guest as it is now
	fullSince  int64                     // when the file system of the tape was full; 0: it is not
	goneSince  time.Time                 // zero: the guest is there
	incomplete bool                      // something asked for is not on the tape
	lineage    lineage
}

// start puts the sources of a guest up. Memory last: its first snapshot is to find
// the others at work.
func (s *session) start(ctx context.Context, g *host.Guest, epoch uint32) {
	s.mu.Lock()
	s.epoch = epoch
	full := s.fullSince != 0
	s.mu.Unlock()
	if full {
		return // put up when there is room
	}
	s.checkNames(g)
	for i := range g.Vifs {
		s.startVif(ctx, g, &g.Vifs[i], epoch)
	}
	for i := range g.Disks {
		s.startDisk(ctx, g, &g.Disks[i], epoch)
	}
	if info, err := s.host.Xen.DomainInfo(g.Domain); err == nil && info.Building() {
		return // its memory is recorded when it runs
	}
	s.startMemory(ctx, g, epoch)
}

func (s *session) startMemory(ctx context.Context, g *host.Guest, epoch uint32) {
	s.mu.Lock()
	wanted := s.want.memory && !s.remembers && s.fullSince == 0
	s.remembers = s.remembers || wanted
	s.mu.Unlock()
	if !wanted {
		return
	}
	c := s.want.memConfig
	c.Xen, c.Pauser, c.Clock = s.host.Xen, s.guard, s.clock
	c.Domain, c.Type, c.Epoch = g.Domain, memory.GuestType(g.Type), epoch
	c.Backends = s.backends
	c.Failed = func(reason error, again time.Duration) {
		s.console.notef("no memory snapshot: %v; tried again in %v", reason, again)
	}
	tree := s.host.KeepXenstore(g)
	c.Describe = func(ctx context.Context) ([]memory.Blob, error) {
		text, err := tree.Dump(ctx)
		return []memory.Blob{{Name: "xenstore", Data: []byte(text)}}, err
	}
	m := memory.New(c)
	if !s.add(ctx, m) {
		return
	}
	go func() { _, _ = tree.Dump(ctx) }() // the first snapshot tells why there is none
	s.mu.Lock()
	s.mem, s.tree = m, tree
	s.mu.Unlock()
}

// checkNames tells of devices that were asked for and are not there.
func (s *session) checkNames(g *host.Guest) {
	for _, name := range s.want.disks {
		if !slices.ContainsFunc(g.Disks, func(d host.Disk) bool { return d.Name == name }) {
			s.missing(fmt.Sprintf("disk %s: the guest has none of this name", name))
		}
	}
	for _, handle := range s.want.vifs {
		if !slices.ContainsFunc(g.Vifs, func(v host.Vif) bool { return v.Handle == handle }) {
			s.missing(fmt.Sprintf("vif %d: the guest has none of this handle", handle))
		}
	}
}

func (s *session) startDisk(ctx context.Context, g *host.Guest, d *host.Disk, epoch uint32) {
	if !s.want.wantsDisk(d.Name) {
		return
	}
	if d.Backend != 0 {
		s.missing(fmt.Sprintf("%s is %s", d.Name, elsewhere(d.Backend)))
		return
	}
	device, err := d.Device()
	if err != nil {
		s.missing(fmt.Sprintf("%s (%s, backend type %s): %v", d.Name, d.Params, d.Type, err))
		return
	}
	attrs := []format.Attr{{Name: "vdev", Value: fmt.Sprint(d.VDev)}, {Name: "params", Value: d.Params}, {Name: "mode", Value: d.Mode}}
	before := s.inherit(d.Name, device)
	if before != "" {
		attrs = append(attrs, format.Attr{Name: "continues", Value: before})
	}
	ring, back, err := s.shares.ring(s.want.ring, diskMappings)
	if err != nil {
		s.missing(fmt.Sprintf("%s: %v", d.Name, err))
		return
	}
	var opener disk.Opener
	if s.privs.client != nil {
		opener = s.privs.client.Disk(g.Domain, d.VDev)
	}
	s.startDevice(ctx, disk.New(disk.Config{
		Opener: opener, Device: device, Clock: s.clock, Blkback: d.Type == "phy", NoReads: !s.want.reads, NoBase: !s.want.base || before != "", Ring: ring, Closed: back,
		Stream: format.StreamDef{
			Name: d.Name, Domain: g.UUID, DomID: g.Domain, Epoch: epoch, Attrs: attrs,
		},
	}))
}

// diskBackend tells the memory source whether a disk's requests may still change
// memory.
type diskBackend struct{ *disk.Source }

func (d diskBackend) InFlight() uint32 { return uint32(d.Status().InFlight) }

// backends are the disks being recorded now.
func (s *session) backends() []memory.Backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []memory.Backend
	for _, name := range slices.Sorted(maps.Keys(s.devices)) {
		if d, ok := s.devices[name].(*disk.Source); ok {
			out = append(out, diskBackend{d})
		}
	}
	return out
}

func vifName(v *host.Vif) string { return fmt.Sprintf("vif%d", v.Handle) }

func (s *session) startVif(ctx context.Context, g *host.Guest, v *host.Vif, epoch uint32) {
	if !s.want.wantsVif(v.Handle) {
		return
	}
	if v.Backend != 0 {
		s.missing(fmt.Sprintf("%s is %s", vifName(v), elsewhere(v.Backend)))
		return
	}
	ring, back, err := s.shares.ring(network.DefaultBuffer, vifMappings)
	if err != nil {
		s.missing(fmt.Sprintf("%s: %v", vifName(v), err))
		return
	}
	var opener network.Opener
	if s.privs.client != nil {
		opener = s.privs.client.Vif(g.Domain, v.Handle)
	}
	s.startDevice(ctx, network.New(network.Config{
		Opener: opener, Interface: v.Interface, Clock: s.clock, Buffer: ring, Closed: back,
		Stream: format.StreamDef{
			Name: vifName(v), Domain: g.UUID, DomID: g.Domain, Epoch: epoch,
			Attrs: []format.Attr{{Name: "mac", Value: v.MAC}},
		},
	}))
}

// startDevice starts the source of a disk or an interface, in place of an earlier one.
func (s *session) startDevice(ctx context.Context, src capture.Source) {
	s.stopDevice(src.Name())
	if !s.add(ctx, src) {
		return
	}
	if n, ok := src.(interface{ Notice() string }); ok && n.Notice() != "" {
		s.missing(n.Notice()) // recorded, but not all of it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[src.Name()] = src
}

func (s *session) stopDevice(name string) {
	s.mu.Lock()
	src := s.devices[name]
	delete(s.devices, name)
	s.mu.Unlock()
	if src != nil {
		s.recorder.Remove(src)
	}
}

// missing tells the operator and the tape that something asked for is not recorded.
func (s *session) missing(text string) {
	s.console.notef("%s", text)
	s.recorder.Event("source-unavailable", "reason", text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incomplete = true
}

// add starts a source, and tells the operator if it cannot be had, unless that is
// because the recording is ending.
func (s *session) add(ctx context.Context, src capture.Source) bool {
	if err := s.recorder.Add(ctx, src); err != nil {
		if ctx.Err() != nil {
			return false
		}
		s.console.notef("%v", err)
		s.mu.Lock()
		s.incomplete = true
		s.mu.Unlock()
		return false
	}
	return true
}

// stop ends the sources of a guest that is gone.
func (s *session) stop() {
	s.mu.Lock()
	m, tree, devices := s.mem, s.tree, s.devices
	s.mem, s.tree, s.remembers, s.devices = nil, nil, false, map[string]capture.Source{}
	s.mu.Unlock()
	if m != nil {
		s.recorder.Remove(m)
		_ = tree.Close(context.Background()) // without a xenstored nothing is watched
		s.mu.Lock()
		s.incomplete = s.incomplete || blind(m)
		s.mu.Unlock()
	}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		s.recorder.Remove(devices[name])
	}
}

// changed follows the life of the guest.
func (s *session) changed(ctx context.Context, c lifecycle.Change) {
	anew := c.Kind == lifecycle.Rebooted || c.Kind == lifecycle.Resumed
	if s.gone != nil && (c.Kind == lifecycle.Gone || anew) {
		s.gone()
		return
	}
	switch c.Kind {
	case lifecycle.Gone:
		s.console.notef("the guest is gone")
		s.stop()
		s.mu.Lock()
		s.goneSince = time.Now()
		s.mu.Unlock()
	case lifecycle.Rebooted, lifecycle.Resumed:
		s.console.notef("the guest was built anew as domain %d", c.Guest.Domain)
		s.stop()
		s.mu.Lock()
		s.goneSince = time.Time{}
		s.mu.Unlock()
		s.start(ctx, c.Guest, c.Epoch)
	case lifecycle.Started:
		s.startMemory(ctx, c.Guest, c.Epoch)
	case lifecycle.DiskAttached:
		s.startDisk(ctx, c.Guest, c.Disk, c.Epoch)
	case lifecycle.DiskDetached:
		s.stopDevice(c.Disk.Name)
	case lifecycle.VifAttached:
		s.startVif(ctx, c.Guest, c.Vif, c.Epoch)
	case lifecycle.VifDetached:
		s.stopDevice(vifName(c.Vif))
	}
}

// whole says whether what was asked for is on the tape.
func (s *session) whole() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.incomplete && (s.mem == nil || !blind(s.mem))
}

// blind says that snapshots were tried and none came about.
func blind(m *memory.Source) bool {
	st := m.Stats()
	return st.Failed > 0 && st.Snapshots == 0
}

// absence is how long the guest has been gone.
func (s *session) absence() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.goneSince.IsZero() {
		return 0
	}
	return time.Since(s.goneSince)
}

// errNoMemory answers requests for snapshots that cannot be taken.
var errNoMemory = errors.New("memory is not being recorded")

// snapshot takes a snapshot now.
func (s *session) snapshot(ctx context.Context) error {
	s.mu.Lock()
	m := s.mem
	s.mu.Unlock()
	if m == nil {
		return errNoMemory
	}
	return m.Snapshot(ctx)
}

// status is what a recorder tells of itself.
type status struct {
	Guest    string                        `json:"guest"`
	UUID     string                        `json:"uuid"`
	Tape     string                        `json:"tape"`
	Bytes    int64                         `json:"bytes"`
	Kept     *kept                         `json:"kept,omitempty"` // of the service, for this guest
	Running  duration                      `json:"running"`
	Memory   *memory.Stats                 `json:"memory,omitempty"`
	Disks    map[string]disk.Status        `json:"disks,omitempty"`
	Sources  map[string]capture.LossCounts `json:"sources"`
	CPU      duration                      `json:"cpu"` // of the recorder
	Resident int64                         `json:"resident_bytes"`
	Helpers  map[string]cost               `json:"helpers,omitempty"` // of its broker and its guard
}

// cost is what a process takes.
type cost struct {
	CPU      duration `json:"cpu"`
	Resident int64    `json:"resident_bytes"`
}

// handle answers on the control socket.
func (s *session) handle(ctx context.Context, c command, snapshot func(context.Context) error, st func() *status) answer {
	switch c.Verb {
	case "snapshot":
		if err := snapshot(ctx); err != nil {
			return answer{Error: err.Error(), Status: st()}
		}
		return answer{Status: st()}
	case "status":
		return answer{Status: st()}
	}
	return answer{Error: fmt.Sprintf("verb %q is not known", c.Verb)}
}

// fill adds what the session knows to a status.
func (s *session) fill(st *status) {
	st.UUID = host.FormatUUID(s.uuid)
	st.Running = duration(time.Since(s.started).Round(time.Millisecond))
	st.Sources = s.recorder.Losses()
	s.mu.Lock()
	m := s.mem
	st.Disks = map[string]disk.Status{}
	for name, src := range s.devices {
		if d, ok := src.(*disk.Source); ok {
			st.Disks[name] = d.Status()
		}
	}
	s.mu.Unlock()
	if m != nil {
		stats := m.Stats()
		st.Memory = &stats
	}
	st.CPU, st.Resident = usage()
	st.Helpers = map[string]cost{}
	helper := func(name string, pid int) {
		if pid != 0 {
			cpu, resident := usageOf(pid)
			st.Helpers[name] = cost{cpu, resident}
		}
	}
	helper("guard", s.guard.PID())
	if s.privs.client != nil {
		helper("broker", s.privs.client.PID())
	}
}

// startEvent is how a recording begins: what was asked for.
func startEvent(r *capture.Recorder, g *host.Guest, attrs ...format.Attr) {
	pairs := []string{"guest-name", g.Name, "producer", "xentaped " + version}
	for _, a := range attrs {
		pairs = append(pairs, a.Name, a.Value)
	}
	r.Event("recording-started", pairs...)
}
