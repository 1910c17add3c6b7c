package network

import (
	"net/netip"
	"strconv"

	"github.com/xentape/xentape/analyze/internal/packet"
	"github.com/xentape/xentape/format"
)

// Seconds is a time or duration in nanoseconds; it is written in seconds with
// six decimals, as Zeek does.
type Seconds int64

// MarshalJSON writes s in seconds.
func (s Seconds) MarshalJSON() ([]byte, error) { return s.append(nil), nil }

func (s Seconds) append(b []byte) []byte {
	u := uint64(s)
	if s < 0 {
		b = append(b, '-')
		u = uint64(-s)
	}
	u = (u + 500) / 1000 // to the microsecond
	b = strconv.AppendUint(b, u/1e6, 10)
	b = append(b, '.')
	frac := strconv.AppendUint(nil, u%1e6, 10)
	for i := len(frac); i < 6; i++ {
		b = append(b, '0')
	}
	return append(b, frac...)
}

// ID is the addresses and ports of a connection (Zeek's conn_id).
type ID struct {
	OrigH netip.Addr `json:"id.orig_h"`
	OrigP uint16     `json:"id.orig_p"`
	RespH netip.Addr `json:"id.resp_h"`
	RespP uint16     `json:"id.resp_p"`
}

// A Conn is one connection, under the names of Zeek's conn.log. For UDP, ICMP
// and other transports it is a flow; ICMP's "ports" are type and code.
type Conn struct {
	TS  Seconds `json:"ts"` // wall clock of the first packet
	UID string  `json:"uid"`
	ID
	Proto         string   `json:"proto"`             // tcp, udp, icmp, unknown_transport
	Service       string   `json:"service,omitempty"` // application protocols confirmed, in order, with commas
	Duration      *Seconds `json:"duration,omitempty"`
	OrigBytes     *uint64  `json:"orig_bytes,omitempty"` // payload, by TCP sequence numbers; unset when there is no duration
	RespBytes     *uint64  `json:"resp_bytes,omitempty"`
	ConnState     string   `json:"conn_state"`
	LocalOrig     bool     `json:"local_orig"`
	LocalResp     bool     `json:"local_resp"`
	MissedBytes   uint64   `json:"missed_bytes"`
	History       string   `json:"history,omitempty"`
	OrigPkts      uint64   `json:"orig_pkts"`
	OrigIPBytes   uint64   `json:"orig_ip_bytes"`
	RespPkts      uint64   `json:"resp_pkts"`
	RespIPBytes   uint64   `json:"resp_ip_bytes"`
	TunnelParents []string `json:"tunnel_parents,omitempty"`
	IPProto       uint8    `json:"ip_proto"`
	CommunityID   string   `json:"community_id"`
	VLAN          uint16   `json:"vlan,omitempty"`
	InnerVLAN     uint16   `json:"inner_vlan,omitempty"`
	Retransmits   uint64   `json:"retransmits,omitempty"` // TCP segments with payload already sent
	OutOfOrder    uint64   `json:"out_of_order,omitempty"`

	DNS  []*DNS  `json:"dns,omitempty"`
	TLS  *TLS    `json:"tls,omitempty"`
	HTTP []*HTTP `json:"http,omitempty"`
	SSH  *SSH    `json:"ssh,omitempty"`
	QUIC *QUIC   `json:"quic,omitempty"`

	// Process is filled in by whoever joins connections with guest memory.
	Process any `json:"process,omitempty"`

	Stream      string          `json:"stream,omitempty"`    // name of the interface's stream
	Uncertain   bool            `json:"uncertain,omitempty"` // packets that may have been its are missing from the tape
	FirstRecord uint64          `json:"first_record"`        // sequence numbers of its first and last packet records
	LastRecord  uint64          `json:"last_record"`
	StreamID    format.StreamID `json:"-"`
	Start, End  int64           `json:"-"` // ns of the tape's clock
	// Closing is when the first FIN or RST of a TCP connection came, 0 none.
	Closing int64 `json:"-"`
	// OrigSent is the direction of the originator's packets as the recorder saw
	// it: FromGuest when the guest began the connection.
	OrigSent format.Direction `json:"-"`

	midStream bool  // its beginning was not seen
	over      bool  // its end was seen
	patience  int64 // ns without packets that would have ended it
	duration  Seconds
	bytes     [2]uint64 // what Duration, OrigBytes and RespBytes point to
}

func protoName(p uint8) string {
	switch p {
	case packet.ProtoTCP:
		return "tcp"
	case packet.ProtoUDP:
		return "udp"
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return "icmp"
	}
	return "unknown_transport"
}

func (c *conn) uid() string {
	if c.name == "" {
		c.name = makeUID(c.key, c.iface, c.start+c.shard.opt.RealtimeOffset, c.again)
	}
	return c.name
}

// between is the time from one moment to another as the difference of their
// wall-clock times in microseconds, which is what most captures have.
func (c *conn) between(from, to int64) Seconds {
	off := c.shard.opt.RealtimeOffset
	return Seconds(((to+off)/1000 - (from+off)/1000) * 1000)
}

func (c *conn) id() ID {
	return ID{c.orig.Netip(), c.origPort, c.resp.Netip(), c.respPort}
}

// record makes the connection's record; times are still the tape's.
func (c *conn) record() *Conn {
	r := &Conn{
		UID: c.uid(), ID: c.id(),
		Proto: protoName(c.proto), ConnState: c.connState(), History: string(c.history),
		OrigPkts: c.pkts[0], OrigIPBytes: c.ipBytes[0], RespPkts: c.pkts[1], RespIPBytes: c.ipBytes[1],
		TunnelParents: c.tunnel.parents, IPProto: c.proto, VLAN: c.vlan, InnerVLAN: c.innerVLAN,
		CommunityID: CommunityID(c.orig, c.resp, c.origPort, c.respPort, c.proto, c.key.oneWay),
		FirstRecord: c.firstRec, LastRecord: c.lastRec, StreamID: c.key.stream, Start: c.start, End: c.last, Closing: c.closing, OrigSent: c.origSent,
		Service: c.service(),
	}
	if c.last > c.start {
		r.duration = c.between(c.start, c.last)
		r.bytes[0], r.bytes[1] = c.sizes()
		r.Duration, r.OrigBytes, r.RespBytes = &r.duration, &r.bytes[0], &r.bytes[1]
	}
	r.patience = c.inactivity
	if c.isDNS {
		r.patience = dnsTimeout
	}
	if t := c.tcp; t != nil {
		r.midStream = t.ep[0].state == partial || t.ep[0].prev == partial || t.ep[0].state == inactive
		r.over = t.finished || t.ep[0].didClose && t.ep[1].didClose
		for i := range t.ep {
			r.MissedBytes += t.ep[i].stream.missed
			r.Retransmits += uint64(t.ep[i].rexmits)
			r.OutOfOrder += t.ep[i].reordered
		}
	}
	if c.app != nil {
		c.app.describe(r)
	}
	return r
}

// privateNets is Zeek's Site::private_address_space: private-use, shared,
// loopback, link-local, documentation, benchmarking and local multicast ranges
// (RFC 6890), and the IPv4 ones again as 6to4 addresses (RFC 3056).
var privateNets = makePrivateNets()

func makePrivateNets() []netip.Prefix {
	var nets []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
		"172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/24", "239.0.0.0/8", "240.0.0.0/4",
		"255.255.255.255/32",
	} {
		p := netip.MustParsePrefix(s)
		a := p.Addr().As4()
		six := netip.AddrFrom16([16]byte{0x20, 0x02, a[0], a[1], a[2], a[3]})
		nets = append(nets, p, netip.PrefixFrom(six, 16+p.Bits()))
	}
	for _, s := range []string{
		"::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:2::/48",
		"2001:db8::/32", "fc00::/7", "fe80::/10", "fec0::/10",
	} {
		nets = append(nets, netip.MustParsePrefix(s))
	}
	return nets
}

func (o *Options) local(a netip.Addr) bool {
	for _, p := range privateNets {
		if p.Contains(a) {
			return true
		}
	}
	for _, p := range o.LocalNets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
