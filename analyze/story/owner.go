package story

import (
	"fmt"
	"net/netip"
	"sort"

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
	PID       int        `json:"pid"`
	Comm      string     `json:"comm"`
	Exe       string     `json:"exe"`
	Container string     `json:"container,omitempty"`
	Grade     Grade      `json:"grade"`
	Evidence  []Evidence `json:"evidence,omitempty"`

	key identity
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
	listening map[endpoint][]sighting // by protocol and local port
	guest     map[netip.Addr]bool     // addresses the guest's own sockets have
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
	x := &sockets{connected: map[tuple][]sighting{}, listening: map[endpoint][]sighting{}, guest: map[netip.Addr]bool{}}
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
	if !local.Addr().IsUnspecified() {
		x.guest[local.Addr()] = true
	}
	if remote, ok := addrPort(k.Remote, k.RemotePort); ok && remote.Port() != 0 {
		g.remote = remote
		key := tuple{k.Proto, local, remote}
		x.connected[key] = append(x.connected[key], g)
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
	sort.SliceStable(held, func(i, j int) bool {
		a, b := &held[i], &held[j]
		if inside(a) != inside(b) {
			return inside(a)
		}
		if a.snap.Number != b.snap.Number {
			return a.snap.Number < b.snap.Number
		}
		if a.proc.StartTime != b.proc.StartTime {
			return a.proc.StartTime > b.proc.StartTime
		}
		return a.proc.PID > b.proc.PID
	})
	best := &held[0]
	grade := Inferred
	if inside(best) {
		grade = Exact
	}
	o := newOwner(best.proc, grade)
	said := map[identity]bool{}
	for i := range held {
		s := &held[i]
		if said[identify(s.proc)] {
			continue
		}
		said[identify(s.proc)] = true
		o.Evidence = append(o.Evidence, Evidence{Stream: "memory", Records: []uint64{s.snap.First, s.snap.Last},
			Detail: fmt.Sprintf("snapshot #%d: pid %d (%s) holds fd %d, socket inode %d, %s", s.snap.Number, s.proc.PID, s.proc.Comm, s.sock.FD, s.sock.Inode, s.sock.State)})
	}
	return o
}

// listener finds who held the local end without a peer: it accepted the
// connection, or handed it on. That is an inference.
func (x *sockets) listener(c *network.Conn, local netip.AddrPort, how string) *Owner {
	var best *sighting
	for i, s := range x.listening[endpoint{c.Proto, local.Port()}] {
		if !(s.local.Addr() == local.Addr() || s.local.Addr().IsUnspecified() && x.guest[local.Addr()]) {
			continue
		}
		if best == nil || nearer(s.snap.Time, best.snap.Time, c.Start) {
			best = &x.listening[endpoint{c.Proto, local.Port()}][i]
		}
	}
	if best == nil {
		return nil
	}
	return newOwner(best.proc, Inferred, Evidence{Stream: "memory", Records: []uint64{best.snap.First, best.snap.Last},
		Detail: fmt.Sprintf("snapshot #%d: pid %d (%s) %s, fd %d, port %d", best.snap.Number, best.proc.PID, best.proc.Comm, how, best.sock.FD, best.sock.LocalPort)})
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
