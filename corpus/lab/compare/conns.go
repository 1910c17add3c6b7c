package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// conn is what the comparison needs of a line of xentape conns.
type conn struct {
	TS        *float64   `json:"ts"`
	OrigH     netip.Addr `json:"id.orig_h"`
	OrigP     uint16     `json:"id.orig_p"`
	RespH     netip.Addr `json:"id.resp_h"`
	RespP     uint16     `json:"id.resp_p"`
	Proto     string     `json:"proto"`
	Service   string     `json:"service"`
	Duration  *float64   `json:"duration"`
	OrigBytes *int64     `json:"orig_bytes"`
	RespBytes *int64     `json:"resp_bytes"`
	OrigPkts  int64      `json:"orig_pkts"`
	RespPkts  int64      `json:"resp_pkts"`
	OrigIP    int64      `json:"orig_ip_bytes"`
	RespIP    int64      `json:"resp_ip_bytes"`
	ConnState string     `json:"conn_state"`
	Process   *struct {
		PID  int
		Comm string
	} `json:"process"`
	matched bool
}

func (c *conn) when() time.Time {
	if c.TS == nil {
		return time.Time{}
	}
	return time.Unix(0, int64(*c.TS*1e9))
}

func (c *conn) String() string {
	return fmt.Sprintf("%s %s > %s at %s", c.Proto, netip.AddrPortFrom(c.OrigH, c.OrigP), netip.AddrPortFrom(c.RespH, c.RespP), c.when().UTC().Format("15:04:05.000"))
}

// services are Zeek's names for what the peer calls its services. A shell
// over a plain connection and a sink have no protocol to find.
var services = map[string]string{"http": "http", "dns": "dns", "tls": "ssl", "shell": "", "sink": ""}

// talk is what all lines of the peer's journal about one pair of end points
// come to: a question and its answer each have a line, and an open connection
// has one each time it was looked at.
type talk struct {
	truth.Conversation
	guest, peer netip.AddrPort
}

func (t *record) talks() ([]talk, error) {
	var out []talk
	byEnds := make(map[string]int)
	for _, c := range t.conversations {
		g, err1 := netip.ParseAddrPort(c.Guest)
		p, err2 := netip.ParseAddrPort(c.Peer)
		if err := cmp.Or(err1, err2); err != nil {
			return nil, fmt.Errorf("the peer's journal: %w", err)
		}
		key := c.Proto + g.String() + p.String()
		i, known := byEnds[key]
		switch {
		case !known:
			byEnds[key] = len(out)
			out = append(out, talk{c, g, p})
		case out[i].Opened:
			out[i].Received, out[i].Sent, out[i].Detail, out[i].Opened = c.Received, c.Sent, c.Detail, c.Opened
		default:
			out[i].Received += c.Received
			out[i].Sent += c.Sent
		}
	}
	return out, nil
}

// compareConns finds the connection for everything the peer noted between the
// first point and the last, and the note for every connection.
func compareConns(t *record, conns []conn, gs gaps) *report {
	r := &report{name: "connections"}
	talks, err := t.talks()
	if err != nil {
		r.differ("%v", err)
		return r
	}
	last := t.points[len(t.points)-1].Time
	for _, k := range talks {
		i := slices.IndexFunc(conns, func(c conn) bool { return k.same(&c) })
		if !t.between(k.Time) {
			if i >= 0 {
				conns[i].matched = true
			}
			continue
		}
		var wrong []string
		if i < 0 {
			wrong = []string{"no such connection"}
		} else {
			conns[i].matched = true
			wrong = append(k.wrong(&conns[i]), t.wrongOwner(k, &conns[i])...)
		}
		text := fmt.Sprintf("%s %s with %s at %s: %s", k.Service, k.guest, k.peer, k.Time.UTC().Format("15:04:05.000"), strings.Join(wrong, "; "))
		if g, ok := gs.during("packets", k.Time, last); len(wrong) > 0 && ok {
			r.explain("%s: %s", text, g.text)
		} else if len(wrong) > 0 {
			r.differ("%s", text)
		} else {
			r.matched++
		}
	}
	for i := range conns {
		c := &conns[i]
		if c.matched || !t.between(c.when()) {
			continue
		}
		if strings.HasPrefix(c.Proto, "icmp") || c.Proto == "unknown_transport" || c.OrigH.Is6() {
			r.explain("%v: the web page's ping, or the kernel's own IPv6, which the peer does not log", c)
			continue
		}
		r.differ("%v: the peer knows nothing of it", c)
	}
	return r
}

func (k talk) same(c *conn) bool {
	orig, resp := netip.AddrPortFrom(c.OrigH, c.OrigP), netip.AddrPortFrom(c.RespH, c.RespP)
	return c.Proto == k.Proto && (orig == k.guest && resp == k.peer || orig == k.peer && resp == k.guest)
}

// udpHeaders are what a packet of UDP over IPv4 without options has beside its
// payload (RFC 791, RFC 768).
const udpHeaders = 20 + 8

// payload is how many bytes each side sent. As Zeek does, xentape leaves them out
// of a connection that lasted no time at all, question and answer having the same
// stamp (set_conn in Zeek's base/protocols/conn/main.zeek); then the packets tell.
func (c *conn) payload() (orig, resp *int64) {
	if c.Duration != nil || c.Proto != "udp" {
		return c.OrigBytes, c.RespBytes
	}
	o, r := c.OrigIP-c.OrigPkts*udpHeaders, c.RespIP-c.RespPkts*udpHeaders
	return &o, &r
}

func (k talk) wrong(c *conn) []string {
	var wrong []string
	toPeer, toGuest := c.payload()
	if c.OrigH == k.peer.Addr() {
		toPeer, toGuest = toGuest, toPeer
	}
	for _, side := range []struct {
		name string
		got  *int64
		want int64
	}{{"bytes from the guest", toPeer, k.Received}, {"bytes to the guest", toGuest, k.Sent}} {
		switch {
		case side.got == nil && side.want != 0:
			wrong = append(wrong, fmt.Sprintf("no %s, were %d", side.name, side.want))
		case side.got != nil && *side.got != side.want && !(k.Opened && *side.got >= side.want):
			wrong = append(wrong, fmt.Sprintf("%d %s, were %d", *side.got, side.name, side.want))
		}
	}
	if want := services[k.Service]; c.Service != want {
		wrong = append(wrong, fmt.Sprintf("service %q, was %q", c.Service, want))
	}
	return wrong
}

// wrongOwner checks the process a connection is given to, where the guest's
// own record names one: a socket that was open at a point has its holders.
func (t *record) wrongOwner(k talk, c *conn) []string {
	holders := t.holders(k)
	if len(holders) == 0 {
		return nil
	}
	if c.Process == nil {
		return []string{fmt.Sprintf("no process, was held by %v", holders)}
	}
	if !slices.Contains(holders, c.Process.PID) {
		return []string{fmt.Sprintf("process %d (%s), was held by %v", c.Process.PID, c.Process.Comm, holders)}
	}
	return nil
}

// holders are the processes that had the connection's socket open at a point.
func (t *record) holders(k talk) []int {
	var pids []int
	for _, point := range t.points {
		for _, p := range t.processes[point.Name] {
			for _, s := range p.Sockets {
				if s.Proto == k.Proto && s.Local == k.guest.String() && s.Remote == k.peer.String() {
					pids = append(pids, p.PID)
				}
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}
