package network

import (
	"github.com/xentape/xentape/analyze/internal/packet"
	"github.com/xentape/xentape/format"
)

// A key identifies a connection: both ends in a fixed order, so that the two
// directions meet. One-way ICMP keeps its direction. The same flow on two
// interfaces is two observations: the stream tells them apart.
type key struct {
	a, b   packet.Addr
	pa, pb uint16
	stream format.StreamID
	proto  uint8
	oneWay bool
}

func makeKey(src, dst *packet.Addr, sp, dp uint16, proto uint8, oneWay bool) (k key) {
	k.proto, k.oneWay = proto, oneWay
	if !oneWay {
		if d := src.Compare(dst); d > 0 || d == 0 && sp > dp {
			src, dst, sp, dp = dst, src, dp, sp
		}
	}
	k.a, k.b, k.pa, k.pb = *src, *dst, sp, dp
	return k
}

// is compares in the order in which keys of equal hashes may differ at all.
func (k *key) is(o *key) bool {
	return k.pa == o.pa && k.pb == o.pb && k.a == o.a && k.b == o.b && k.stream == o.stream && k.proto == o.proto && k.oneWay == o.oneWay
}

// maxHistory bounds the history letters of one connection. Letters that can
// repeat without bound (a SYN, FIN or RST with another number each time) would
// otherwise let a sender grow it for ever.
const maxHistory = 1024

// conn is a live connection. What every packet needs comes first: finding these
// lines of memory is much of the work.
type conn struct {
	key                key
	origPort, respPort uint16
	orig, resp         packet.Addr
	last               int64 // ns of the tape
	deleteAt           int64 // when the finished connection is done with; 0 none
	attemptAt          int64 // when a connection attempt is given up; 0 none
	inactivity         int64
	tcp                *tcpConn
	app                *app
	at                 int64 // when the packet in hand came
	closing            int64 // when the first FIN or RST came; 0 none
	lastRec            uint64
	pkts, ipBytes      [2]uint64 // originator, responder
	lastTotal          uint64    // IP bytes of the packet counted last
	history            []byte
	historySeen        uint32
	proto              uint8
	noSession          bool             // session timers are cancelled
	inHand             bool             // a packet of it is being processed
	isDNS              bool             // attached to DNS by its port: ended between questions
	origSent           format.Direction // of packets of the originator, as the recorder saw it
	shard              *shard
	tunnel             tunnelState
	start              int64 // ns of the tape
	halfClosedAt       int64 // when closing on one side begins to be looked at; 0 none
	firstRec           uint64
	flow               datagrams
	hash               uint64 // of the key, in the shard's table
	ports              *ports
	services           []string
	serviceBuf         [1]string
	name               string // the uid, once asked for
	historyBuf         [16]byte
	iface              uint32 // number of the stream among those with packets
	again              uint32 // connections before with the same key and start
	files              uint32 // begun in it
	vlan, innerVLAN    uint16
}

// tcpAlloc is a connection together with its TCP part, in one allocation.
type tcpAlloc struct {
	conn
	tcpConn
}

// spares are connections that have ended, and nothing refers to any more: those to
// come are made of them. There are never more than were alive at once.
type spares struct{ tcp, other []*conn }

// take returns an empty connection.
func (s *spares) take(proto uint8) *conn {
	list := s.list(proto)
	if n := len(*list); n > 0 {
		c := (*list)[n-1]
		*list = (*list)[:n-1]
		return c
	}
	if proto != packet.ProtoTCP {
		return new(conn)
	}
	a := new(tcpAlloc)
	a.tcp = &a.tcpConn
	return &a.conn
}

// give empties a connection and keeps it.
func (s *spares) give(c *conn) {
	list := s.list(c.proto)
	if c.tcp != nil {
		*c.tcp = tcpConn{}
	}
	if c.app != nil {
		*c.app = app{}
	}
	*c = conn{tcp: c.tcp, app: c.app}
	*list = append(*list, c)
}

func (s *spares) list(proto uint8) *[]*conn {
	if proto == packet.ProtoTCP {
		return &s.tcp
	}
	return &s.other
}

// begin sets what an empty connection has from its first packet.
func (c *conn) begin(k *key, src, dst *packet.Addr, sp, dp uint16, m *meta) {
	c.key, c.orig, c.resp, c.origPort, c.respPort = *k, *src, *dst, sp, dp
	c.proto, c.start, c.last, c.firstRec, c.lastRec = k.proto, m.now, m.now, m.rec, m.rec
	c.iface, c.vlan, c.innerVLAN, c.origSent = m.iface, m.vlan, m.innerVLAN, m.direction
	c.history = c.historyBuf[:0]
	c.services = c.serviceBuf[:0]
	c.inactivity = inactivityDefault
}

// flip turns originator and responder round.
func (c *conn) flip() {
	c.orig, c.resp = c.resp, c.orig
	c.origPort, c.respPort = c.respPort, c.origPort
	c.pkts[0], c.pkts[1] = c.pkts[1], c.pkts[0]
	c.ipBytes[0], c.ipBytes[1] = c.ipBytes[1], c.ipBytes[0]
	c.origSent = opposite(c.origSent)
	c.flow.flip()
	if t := c.tcp; t != nil {
		t.ep[0], t.ep[1] = t.ep[1], t.ep[0]
		t.firstSeen[0], t.firstSeen[1] = t.firstSeen[1], t.firstSeen[0]
		t.partial = false
	}
	c.addHistory('^', true)
	c.contentFlip()
}

func opposite(d format.Direction) format.Direction {
	switch d {
	case format.FromGuest:
		return format.ToGuest
	case format.ToGuest:
		return format.FromGuest
	}
	return d
}

// flipByContent turns the roles round because of what the datagram in hand, of the
// given side, said. As in Zeek the bytes of payload stay with their sides, and the
// datagram counts for the side it was of before.
func (c *conn) flipByContent(isOrig bool) {
	c.flip()
	if c.tcp != nil {
		return
	}
	c.flow.flip()
	i := side(isOrig)
	c.pkts[i]++
	c.pkts[1-i]--
	c.ipBytes[i] += c.lastTotal
	c.ipBytes[1-i] -= c.lastTotal
}

// addHistory appends a letter; a responder's is in lower case.
func (c *conn) addHistory(code byte, isOrig bool) {
	if len(c.history) >= maxHistory {
		return
	}
	if !isOrig && code >= 'A' && code <= 'Z' {
		code |= 0x20
	}
	c.history = append(c.history, code)
}

// seenHistory adds a letter when its bit is met for the first time, and reports
// whether it was known.
func (c *conn) seenHistory(bit uint32, code byte, isOrig bool) bool {
	if c.historySeen&bit != 0 {
		return true
	}
	c.historySeen |= bit
	c.addHistory(code, isOrig)
	return false
}

// histLimit marks 'X': analysis of the connection reached a limit.
const histLimit = 0x400

func (c *conn) limitReached() { c.seenHistory(histLimit, 'X', true) }

// count adds a packet to the totals. total is the datagram's length by its IP
// header.
func (c *conn) count(isOrig bool, total int) {
	c.pkts[side(isOrig)]++
	c.ipBytes[side(isOrig)] += uint64(total)
	c.lastTotal = uint64(total)
}

// datagrams is the state of a connection whose transport has none.
type datagrams struct {
	active  [2]bool
	bytes   [2]uint64
	badSums [2]scaled
}

func (d *datagrams) flip() {
	d.active[0], d.active[1] = d.active[1], d.active[0]
	d.bytes[0], d.bytes[1] = d.bytes[1], d.bytes[0]
	d.badSums[0], d.badSums[1] = d.badSums[1], d.badSums[0]
}

func (d *datagrams) add(isOrig bool, n int) {
	d.active[side(isOrig)] = true
	d.bytes[side(isOrig)] += uint64(max(n, 0))
}

func (c *conn) datagramState() string {
	if c.proto != packet.ProtoUDP {
		return "OTH"
	}
	switch d := &c.flow; {
	case d.active[0] && d.active[1]:
		return "SF"
	case d.active[0]:
		return "S0"
	case d.active[1]:
		return "SHR"
	}
	return "OTH"
}

// sizes returns the payload bytes of each side.
func (c *conn) sizes() (orig, resp uint64) {
	if t := c.tcp; t != nil {
		return t.ep[0].size(&t.ep[1]), t.ep[1].size(&t.ep[0])
	}
	return c.flow.bytes[0], c.flow.bytes[1]
}

// dnsTimeout is Zeek's dns_session_timeout.
const dnsTimeout = 10 * second

// dnsExpired: a UDP flow to a DNS port is looked at every ten seconds, and ends
// when nothing was said for nine.
func (c *conn) dnsExpired(now int64) bool {
	fire := c.start + (now-c.start)/dnsTimeout*dnsTimeout
	return fire > c.start && fire-c.last >= dnsTimeout-second
}
