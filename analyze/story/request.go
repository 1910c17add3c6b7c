package story

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/xentape/xentape/analyze/process"
)

// request is the connection that a process was started for, as its environment
// has it. A process can change its environment, so the relation is inferred.
type request struct {
	conn int    // index into Input.Conns
	how  string // the variables that say so
	// web: of a request that a program answers and ends with, not a session.
	web bool
}

// origins are the ways in which servers tell a program who it is started for:
// CGI (RFC 3875; the port is common practice), sshd(8), socat(1), tcpserver
// (UCSPI), ncat(1).
var origins = []struct {
	addr, port string
	web        bool
}{
	{"REMOTE_ADDR", "REMOTE_PORT", true},
	{"SSH_CONNECTION", "", false},
	{"SOCAT_PEERADDR", "SOCAT_PEERPORT", false},
	{"TCPREMOTEIP", "TCPREMOTEPORT", false},
	{"NCAT_REMOTE_ADDR", "NCAT_REMOTE_PORT", false},
}

func (j *joiner) joinRequests() {
	byPeer := map[netip.AddrPort][]int{}
	for i, c := range j.in.Conns {
		if c.Proto == "tcp" {
			at := netip.AddrPortFrom(c.OrigH.Unmap(), c.OrigP)
			byPeer[at] = append(byPeer[at], i)
		}
	}
	for i := range j.in.Processes {
		p := &j.in.Processes[i]
		if r := j.request(p, byPeer); r != nil {
			j.started[identify(p)] = r
		}
	}
}

func (j *joiner) request(p *process.Process, byPeer map[netip.AddrPort][]int) *request {
	env := map[string]string{}
	for _, v := range p.Env {
		if k, x, ok := strings.Cut(v, "="); ok {
			env[k] = x
		}
	}
	for _, o := range origins {
		peer, ok := peerOf(env[o.addr], env[o.port])
		if !ok {
			continue
		}
		best := -1
		for _, i := range byPeer[peer] {
			// A port is used again: the process began after its connection did.
			const slack = int64(1e9)
			if at, _, _ := j.startTime(p); at == 0 || int64(j.in.Conns[i].TS) <= at+slack {
				best = i
			}
		}
		if best >= 0 {
			how := o.addr + "=" + env[o.addr]
			if o.port != "" {
				how += " " + o.port + "=" + env[o.port]
			}
			return &request{conn: best, how: how, web: o.web}
		}
	}
	return nil
}

// peerOf reads an address and a port, or the four fields of SSH_CONNECTION.
func peerOf(addr, port string) (netip.AddrPort, bool) {
	if f := strings.Fields(addr); len(f) == 4 {
		addr, port = f[0], f[1]
	}
	a, err := netip.ParseAddr(strings.Trim(addr, "[]"))
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(n)), true
}

// outlived: the request was answered and its connection closed, and the program
// that was started for it still ran at a later snapshot.
func (j *joiner) outlived(p *process.Process) bool {
	r := j.started[identify(p)]
	if r == nil || !r.web {
		return false
	}
	c := j.in.Conns[r.conn]
	n := j.snapshot(p.LastSnapshot)
	return n != nil && ended[c.ConnState] && c.End+int64(1e9) < n.Time
}

func (j *joiner) requestEvidence(p *process.Process) []Evidence {
	r := j.started[identify(p)]
	if r == nil {
		return nil
	}
	c := j.in.Conns[r.conn]
	ev := []Evidence{{Stream: orDefault(c.Stream, "network"), Records: records(c.FirstRecord, c.LastRecord), Detail: "connection " + c.UID}}
	if n := j.snapshot(p.LastSnapshot); n != nil {
		ev = append(ev, Evidence{Stream: "memory", Records: []uint64{n.First, n.Last}, Detail: fmt.Sprintf("snapshot #%d: environment of pid %d has %s", n.Number, p.PID, r.how)})
	}
	return ev
}
