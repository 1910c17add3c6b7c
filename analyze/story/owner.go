package story

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

// Grade is how firmly two things are tied together.
type Grade string

// The grades of a relation.
const (
	Exact    Grade = "exact"    // seen together, at a time that lies inside both lives
	Inferred Grade = "inferred" // seen together before or after, or tied by what cannot be chance
	Unknown  Grade = "unknown"  // nothing on the tape tells
)

// Evidence is something on the tape that a relation or finding rests on.
type Evidence struct {
	Stream  string   `json:"stream"`            // "memory", "xvda", "vif0", …
	Records []uint64 `json:"records,omitempty"` // sequence numbers, ascending
	Detail  string   `json:"detail,omitempty"`
}

// Owner is the process that a connection or a file change is put down to.
type Owner struct {
	PID       int    `json:"pid"`
	Comm      string `json:"comm"`
	Exe       string `json:"exe"`
	Container string `json:"container,omitempty"`
	Grade     Grade  `json:"grade"`
	// SharedWith are other processes that the same evidence fits.
	SharedWith []int      `json:"shared_with,omitempty"`
	Evidence   []Evidence `json:"evidence,omitempty"`

	key   identity
	named map[identity]bool // in the evidence
}

// identity is what makes two sightings the same process.
type identity struct {
	pid   int
	start uint64
	task  process.Address
}

func (i identity) String() string { return fmt.Sprintf("%d %d %#x", i.pid, i.start, uint64(i.task)) }

func identify(p *process.Process) identity { return identity{p.PID, p.StartTime, p.TaskAddress} }

func newOwner(p *process.Process, g Grade, ev ...Evidence) *Owner {
	return &Owner{PID: p.PID, Comm: p.Comm, Exe: p.Exe, Container: p.Container, Grade: g, Evidence: ev, key: identify(p)}
}

// sighting is one socket of one process in one snapshot.
type sighting struct {
	snap          *Snapshot
	proc          *process.Process
	sock          *process.Socket
	local, remote netip.AddrPort
}

// sockets indexes what snapshots show of the network.
type sockets struct {
	connected map[tuple][]sighting
	listening map[endpoint][]sighting   // by protocol and local port
	byRemote  map[endpointOf][]sighting // by protocol and the peer's end
	byInode   map[uint64][]*process.Process
	guest     map[netip.Addr]bool // addresses the guest's own sockets have
}

type endpointOf struct {
	proto  string
	remote netip.AddrPort
}

type tuple struct {
	proto         string
	local, remote netip.AddrPort
}

type endpoint struct {
	proto string
	port  uint16
}

func indexSockets(snaps []Snapshot) *sockets {
	x := &sockets{connected: map[tuple][]sighting{}, listening: map[endpoint][]sighting{}, byRemote: map[endpointOf][]sighting{}, byInode: map[uint64][]*process.Process{}, guest: map[netip.Addr]bool{}}
	for i := range snaps {
		s := &snaps[i]
		for j := range s.Processes {
			p := &s.Processes[j]
			for k := range p.Sockets {
				x.add(s, p, &p.Sockets[k])
			}
		}
	}
	return x
}

func (x *sockets) add(s *Snapshot, p *process.Process, k *process.Socket) {
	if k.Proto != "tcp" && k.Proto != "udp" {
		return
	}
	local, ok := addrPort(k.Local, k.LocalPort)
	if !ok {
		return
	}
	g := sighting{snap: s, proc: p, sock: k, local: local}
	x.byInode[k.Inode] = append(x.byInode[k.Inode], p)
	if host := hostNetwork(s); !local.Addr().IsUnspecified() && (host == 0 || k.NetNS == 0 || k.NetNS == host) {
		x.guest[local.Addr()] = true
	}
	if remote, ok := addrPort(k.Remote, k.RemotePort); ok && remote.Port() != 0 {
		g.remote = remote
		key := tuple{k.Proto, local, remote}
		x.connected[key] = append(x.connected[key], g)
		to := endpointOf{k.Proto, remote}
		x.byRemote[to] = append(x.byRemote[to], g)
		return
	}
	key := endpoint{k.Proto, local.Port()}
	x.listening[key] = append(x.listening[key], g)
}

func addrPort(a string, port uint16) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap().WithZone(""), port), true
}

// ended lists the states of connections whose end was seen on the wire.
var ended = map[string]bool{"SF": true, "REJ": true, "RSTO": true, "RSTR": true, "RSTOS0": true, "RSTRH": true}

// owner finds the process that held a connection.
func (x *sockets) owner(c *network.Conn) *Owner {
	orig := netip.AddrPortFrom(c.OrigH.Unmap(), c.OrigP)
	resp := netip.AddrPortFrom(c.RespH.Unmap(), c.RespP)
	held := append(append([]sighting(nil), x.connected[tuple{c.Proto, orig, resp}]...), x.connected[tuple{c.Proto, resp, orig}]...)
	if len(held) > 0 {
		return heldOwner(c, held)
	}
	if o := x.translated(c, resp); o != nil {
		return o
	}
	if o := x.listener(c, resp, "held the listening socket"); o != nil {
		return o
	}
	if c.Proto == "udp" {
		return x.listener(c, orig, "held the unconnected socket of that port")
	}
	return nil
}

// heldOwner grades sightings of the very connection: the best is one inside its
// life. Several processes may share a socket (a shell that inherited it); the
// one that was started last is the one that uses it, the others are named in the
// evidence.
func heldOwner(c *network.Conn, held []sighting) *Owner {
	inside := func(s *sighting) bool {
		return s.snap.Time >= c.Start && (s.snap.Time <= c.End || !ended[c.ConnState])
	}
	slices.SortStableFunc(held, func(a, b sighting) int {
		switch in := inside(&a); {
		case in == inside(&b):
			return cmp.Or(cmp.Compare(a.snap.Number, b.snap.Number), likelier(&a, &b))
		case in:
			return -1
		}
		return 1
	})
	best := &held[0]
	grade := Inferred
	if inside(best) {
		grade = Exact
	}
	o := newOwner(best.proc, grade)
	for i := range held {
		o.also(&held[i], "holds it")
	}
	return o
}

// translated finds who held a socket to the same peer in another network
// namespace, whose own address is replaced on the way out (containers). That is an
// inference, and only made when it fits one socket.
func (x *sockets) translated(c *network.Conn, resp netip.AddrPort) *Owner {
	var fits []sighting
	for _, s := range x.byRemote[endpointOf{c.Proto, resp}] {
		if !x.guest[s.local.Addr()] && s.snap.Time >= c.Start && (s.snap.Time <= c.End || !ended[c.ConnState]) {
			fits = append(fits, s)
		}
	}
	for i := range fits {
		if fits[i].sock.Inode != fits[0].sock.Inode {
			return nil
		}
	}
	if len(fits) == 0 {
		return nil
	}
	return inferred(fits, "holds a socket to the same peer in a network namespace of its own")
}

// listener finds who held the local end without a peer: it accepted the
// connection, or handed it on. That is an inference. Of several that hold the
// same socket the one started last is named: servers accept in their workers.
func (x *sockets) listener(c *network.Conn, local netip.AddrPort, how string) *Owner {
	var near []sighting
	for _, s := range x.listening[endpoint{c.Proto, local.Port()}] {
		if !(s.local.Addr() == local.Addr() || s.local.Addr().IsUnspecified() && x.guest[local.Addr()]) {
			continue
		}
		switch {
		case len(near) == 0 || nearer(s.snap.Time, near[0].snap.Time, c.Start):
			near = []sighting{s}
		case s.snap == near[0].snap:
			near = append(near, s)
		}
	}
	if len(near) == 0 {
		return nil
	}
	return inferred(near, how)
}

// inferred names one of the processes of one snapshot that fit.
func inferred(fits []sighting, how string) *Owner {
	slices.SortStableFunc(fits, func(a, b sighting) int { return likelier(&a, &b) })
	o := newOwner(fits[0].proc, Inferred)
	for i := range fits {
		o.also(&fits[i], how)
	}
	return o
}

// likelier orders those who hold a socket in one snapshot. Who has it as standard input or
// output hands it on to all that it starts: of these the first is the one it was made
// for, a shell's rather than its commands'.
func likelier(a, b *sighting) int {
	stdio := func(s *sighting) bool { return s.sock.FD >= 0 && s.sock.FD <= 2 }
	switch {
	case stdio(a) && stdio(b):
		return youngest(b.proc, a.proc)
	case stdio(a):
		return -1
	case stdio(b):
		return 1
	}
	return youngest(a.proc, b.proc)
}

// youngest orders processes by their start, the latest first: of several that fit,
// the one that inherited something is the one that uses it.
func youngest(a, b *process.Process) int {
	return cmp.Or(cmp.Compare(b.StartTime, a.StartTime), cmp.Compare(b.PID, a.PID))
}

// also adds a sighting to the evidence, once for each process.
func (o *Owner) also(s *sighting, how string) {
	id := identify(s.proc)
	if o.named[id] {
		return
	}
	if o.named == nil {
		o.named = map[identity]bool{}
	}
	o.named[id] = true
	if id != o.key {
		o.SharedWith = append(o.SharedWith, s.proc.PID)
	}
	if len(o.Evidence) < maxCarried {
		o.Evidence = append(o.Evidence, Evidence{Stream: "memory", Records: []uint64{s.snap.First, s.snap.Last},
			Detail: fmt.Sprintf("snapshot #%d: pid %d (%s) %s, fd %d, socket inode %d, %s", s.snap.Number, s.proc.PID, s.proc.Comm, how, s.sock.FD, s.sock.Inode, s.sock.State)})
	}
}

func nearer(a, b, to int64) bool {
	da, db := a-to, b-to
	if da < 0 {
		da = -da
	}
	if db < 0 {
		db = -db
	}
	return da < db
}
