package story

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/analyze/process"
)

// The two sides of one question: what memory shows of the network and what the
// wire shows must agree. Where they do not, packets went another way than the
// one recorded, or a socket is kept out of the kernel's lists.

// settling is how long after its first packet a connection may be without a
// process: it waits to be accepted. ns.
const settling = int64(2e9)

// joinSilence compares sockets with packets, both ways.
func (j *joiner) joinSilence() {
	if j.in.Heard == nil {
		return // nothing was listened to: nothing can be missing
	}
	j.silentSockets()
	for i, c := range j.in.Conns {
		if n := j.socketless(i, c); n != nil {
			j.missing[i] = n
		}
	}
}

// hostNetwork is the network namespace of the guest's first process at a
// snapshot; 0 when it cannot be told.
func hostNetwork(s *Snapshot) uint64 {
	for i := range s.Processes {
		if s.Processes[i].PID == 1 {
			return s.Processes[i].Namespaces.Net
		}
	}
	return 0
}

// silentSockets notes established TCP sockets of which the tape has no packet.
// Sockets of the guest with itself, and of other network namespaces, whose
// addresses are translated on the way out, are none of the recorder's business.
func (j *joiner) silentSockets() {
	wire := map[netip.Addr]bool{}
	seen := map[tuple]bool{}
	for _, c := range j.in.Conns {
		o, r := netip.AddrPortFrom(c.OrigH.Unmap(), c.OrigP), netip.AddrPortFrom(c.RespH.Unmap(), c.RespP)
		wire[o.Addr()], wire[r.Addr()] = true, true
		seen[tuple{c.Proto, o, r}], seen[tuple{c.Proto, r, o}] = true, true
	}
	said := map[string]int{} // socket → index of its oddity
	for i := range j.in.Snapshots {
		s := &j.in.Snapshots[i]
		host := hostNetwork(s)
		for k := range s.Processes {
			p := &s.Processes[k]
			for n := range p.Sockets {
				x := &p.Sockets[n]
				local, remote, ok := ends(x)
				if !ok || host != 0 && x.NetNS != 0 && x.NetNS != host || j.sockets.guest[remote.Addr()] || seen[tuple{"tcp", local, remote}] || !wire[local.Addr()] {
					continue
				}
				key := fmt.Sprint(x.Inode, local, remote)
				at, known := said[key]
				if !known {
					at = len(j.oddities)
					said[key] = at
					j.oddities = append(j.oddities, Oddity{Rule: "socket-without-packets", Severity: "info", At: s.Realtime, PID: p.PID, Start: p.StartTime, Task: p.TaskAddress, File: -1,
						Summary: fmt.Sprintf("%s (%d) has tcp %s → %s established", name(p), p.PID, local, remote), Detail: key, Fields: map[string]any{"began": "before the recording", "DestinationIp": remote.Addr().String(), "DestinationPort": int64(remote.Port())}})
				}
				o := &j.oddities[at]
				if j.heardFrom(p, s) && p.Grade != process.Residue && !j.inherited(x, p) {
					o.Fields["began"] = "during the recording"
				}
				if len(o.Evidence) < maxCarried {
					o.Evidence = append(o.Evidence, Evidence{Stream: "memory", Records: []uint64{s.First, s.Last},
						Detail: fmt.Sprintf("snapshot #%d: pid %d (%s) holds fd %d, socket inode %d, %s", s.Number, p.PID, p.Comm, x.FD, x.Inode, x.State)})
				}
			}
		}
	}
}

// ends are the two ends of an established TCP socket to another host.
func ends(x *process.Socket) (local, remote netip.AddrPort, ok bool) {
	if x.Proto != "tcp" || x.State != "ESTABLISHED" {
		return local, remote, false
	}
	l, ok1 := addrPort(x.Local, x.LocalPort)
	r, ok2 := addrPort(x.Remote, x.RemotePort)
	return l, r, ok1 && ok2 && r.Port() != 0 && !l.Addr().IsLoopback() && !r.Addr().IsLoopback()
}

// heardFrom: packets were recorded without a gap from before the process began
// until the snapshot.
func (j *joiner) heardFrom(p *process.Process, s *Snapshot) bool {
	at, _, basis := j.startTime(p)
	if basis != "boottime" || at == 0 {
		return false
	}
	slack := j.in.Clock.uncertainty() + int64(100e6)
	if at-slack < j.in.Heard.From || s.Realtime > j.in.Heard.To {
		return false
	}
	for _, g := range j.in.Gaps {
		if g.Network && g.From <= s.Realtime && g.To >= at-slack {
			return false
		}
	}
	return true
}

// uncertainty is how far guest times may be off, ns; 0 of no clock.
func (c *GuestClock) uncertainty() int64 {
	if c == nil {
		return 0
	}
	return c.Uncertainty
}

// inherited: a process that began earlier holds the same socket, and may have
// had it before the recording.
func (j *joiner) inherited(x *process.Socket, p *process.Process) bool {
	for _, h := range j.sockets.byInode[x.Inode] {
		if h.StartTime < p.StartTime {
			return true
		}
	}
	return false
}

// socketless returns the snapshot that lies within the life of a TCP connection
// of the guest and shows no process with its socket, where it shows those of all
// processes; nil when there is none.
func (j *joiner) socketless(i int, c *network.Conn) *Snapshot {
	began := j.began(i)
	if c.Proto != "tcp" || j.owners[i] != nil || c.Uncertain || began == WayUnknown || !handshaken(c) {
		return nil
	}
	guest := c.OrigH
	if began == ToGuest {
		guest = c.RespH
	}
	if !j.sockets.guest[guest.Unmap()] {
		return nil // forwarded, or of a namespace whose addresses are translated
	}
	for k := range j.in.Snapshots {
		s := &j.in.Snapshots[k]
		if !s.Paused || s.Time < c.Start+settling || s.Time >= c.End || c.Closing != 0 && s.Time >= c.Closing {
			continue
		}
		if allRead(s) {
			return s
		}
	}
	return nil
}

// handshaken: both sides said that the connection is established.
func handshaken(c *network.Conn) bool {
	h := strings.ToLower(c.History)
	return strings.Contains(c.History, "h") && strings.Contains(h, "a")
}

// allRead: of every process its descriptors could be read.
func allRead(s *Snapshot) bool {
	for i := range s.Processes {
		if len(s.Processes[i].Incomplete) > 0 {
			return false
		}
	}
	return len(s.Processes) > 0
}
