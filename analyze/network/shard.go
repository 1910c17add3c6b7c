package network

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// Bounds of one flow table.
const (
	maxLive    = 16384       // connections alive at once
	sweepEvery = 10 * second // of packet time
	maxDepth   = 4           // tunnels in tunnels (Zeek's Tunnel::max_depth)
)

// A shard is one flow table with all that its connections share. Its answers
// depend only on the packets given to it.
type shard struct {
	opt       *Options
	ports     *ports
	table     *table
	spares    spares
	swept     int64
	stats     Stats
	conns     []*Conn
	told      int // of conns, by Ended
	content   content
	defrag    packet.Defragmenter
	depth     [maxDepth + 1]packet.Frames
	inner     [maxDepth + 1]packet.IP
	metas     [maxDepth + 1]meta
	ipTunnels map[tunnelKey]string
}

func newShard(o *Options, p *ports) *shard {
	return &shard{opt: o, ports: p, table: newTable()}
}

// datagram takes a whole IP datagram.
func (s *shard) datagram(ip *packet.IP, m *meta) {
	if m.now-s.swept >= sweepEvery || m.now < s.swept {
		s.sweep(m.now)
	}
	switch ip.Proto {
	case packet.ProtoTCP:
		s.tcp(ip, m)
	case packet.ProtoUDP:
		s.udp(ip, m)
	case packet.ProtoICMP, packet.ProtoICMPv6:
		s.icmp(ip, m)
	case packet.ProtoIPv4, packet.ProtoIPv6:
		s.ipTunnel(ip, m, packet.TunnelIP, packet.Inner{Link: packet.LinkRaw}, ip.Payload)
	case packet.ProtoGRE:
		s.gre(ip, m, ip.Payload)
	case packet.ProtoIGMP, packet.ProtoNone, packet.ProtoMobility:
		// Control traffic of the network itself, not a conversation.
	default:
		s.other(ip, m)
	}
}

// find returns the connection of a packet, a new one if there is none or the
// known one has ended since.
func (s *shard) find(ip *packet.IP, m *meta, sp, dp uint16, oneWay bool, seg *packet.TCP) (c *conn, isOrig bool) {
	k := makeKey(&ip.Src, &ip.Dst, sp, dp, ip.Proto, oneWay)
	k.stream = m.stream
	c, hash := s.table.find(&k)
	again := uint32(0)
	if c != nil && (c.expired(m.now) || seg != nil && c.tcp.reused(seg)) {
		if c.start == m.now {
			again = c.again + 1
		}
		s.end(c)
		c = nil
	}
	if c == nil {
		if s.table.len() >= maxLive {
			s.evict(m.now)
		}
		c = s.spares.take(ip.Proto)
		c.begin(&k, &ip.Src, &ip.Dst, sp, dp, m)
		c.again, c.ports, c.shard = again, s.ports, s
		if s.wrongWayRound(ip, sp, dp, seg) && !c.resp.IsBroadcast() {
			c.flip()
		}
		c.tunnel.begin(m.encap)
		c.isDNS = ip.Proto == packet.ProtoUDP && s.ports.enabled["dns"] && dnsPort(c.respPort)
		if s.opt.Content {
			s.attach(c)
		}
		s.table.add(c, hash)
	} else {
		c.checkTunnel(m.encap)
	}
	c.lastRec = m.rec
	return c, ip.Src == c.orig && sp == c.origPort
}

// dnsPort reports whether UDP port p is one DNS, or a relative of it, answers on.
func dnsPort(p uint16) bool {
	switch p {
	case 53, 137, 5353, 5355:
		return true
	}
	return false
}

// wrongWayRound guesses that the first packet seen came from the responder,
// because only its port is a server's.
func (s *shard) wrongWayRound(ip *packet.IP, sp, dp uint16, seg *packet.TCP) bool {
	switch ip.Proto {
	case packet.ProtoUDP:
		return s.ports.udp(sp) && !s.ports.udp(dp)
	case packet.ProtoTCP:
		if seg.Flags&packet.SYN != 0 && seg.Flags&packet.ACK == 0 || !s.ports.tcp(sp) {
			return false
		}
		if s.ports.tcp(dp) {
			// Both could be. A SYN-ACK may be a stealth scan; else the lower
			// port is the more plausible server.
			return seg.Flags&packet.SYN == 0 && sp < dp
		}
		return true
	}
	return false
}

func (s *shard) tcp(ip *packet.IP, m *meta) {
	if len(ip.Payload) < 20 || ip.Wire < 20 {
		s.stats.Truncated++
		return
	}
	var seg segment
	r := packet.DecodeTCP(&seg.TCP, ip.Payload, ip.Wire)
	c, isOrig := s.find(ip, m, seg.Src, seg.Dst, false, &seg.TCP)
	if r != packet.OK {
		s.stats.reject(r)
		return
	}
	if !m.trust && len(ip.Payload) >= ip.Wire && !ip.ValidChecksum(ip.Payload[:ip.Wire], packet.ProtoTCP) {
		if c.tcp.ep[side(isOrig)].badSums.hit() {
			c.addHistory('C', isOrig)
		}
		return
	}
	seg.now, seg.payload, seg.length, seg.isOrig = m.now, ip.Payload[seg.Header:], ip.Wire-seg.Header, isOrig
	c.inHand, c.at = true, m.now
	c.tcpPacket(&seg)
	c.inHand = false
	c.count(seg.isOrig, ip.Total)
}

func (s *shard) udp(ip *packet.IP, m *meta) {
	if len(ip.Payload) < 8 || ip.Wire < 8 {
		s.stats.Truncated++
		return
	}
	b := ip.Payload
	sp, dp := packet.Ports(b)
	c, isOrig := s.find(ip, m, sp, dp, false, nil)
	sum := binary.BigEndian.Uint16(b[6:])
	whole := m.missing == 0 && len(b) >= ip.Wire
	if !m.trust && whole && (sum != 0 || ip.V6) && !uncheckedVXLAN(b, dp) &&
		!ip.ValidChecksum(b[:ip.Wire], packet.ProtoUDP) {
		if c.flow.badSums[side(isOrig)].hit() {
			c.addHistory('C', isOrig)
		}
		return
	}
	c.last = m.now
	c.seenHistory(1<<side(isOrig), 'D', isOrig)
	c.flow.add(isOrig, int(binary.BigEndian.Uint16(b[4:]))-8)
	c.count(isOrig, ip.Total)
	payload := b[8:]
	k := packet.TunnelPort(c.respPort)
	if k == packet.NoTunnel && packet.LooksTeredo(payload) {
		k = packet.TunnelTeredo
	}
	c.inHand, c.at = true, m.now
	if k != packet.NoTunnel {
		s.udpTunnel(c, ip, m, k, isOrig, payload)
	}
	if c.app != nil {
		c.app.datagram(c, isOrig, payload)
	}
	c.inHand = false
}

// uncheckedVXLAN: a VXLAN sender may leave the checksum zero, over IPv6 too
// (RFC 7348 §5, RFC 6935).
func uncheckedVXLAN(b []byte, dp uint16) bool {
	return dp == packet.PortVXLAN && len(b) > 8+8+14 && b[8]&8 != 0 && binary.BigEndian.Uint16(b[6:]) == 0
}

func (s *shard) icmp(ip *packet.IP, m *meta) {
	b := ip.Payload
	if len(b) < 8 || ip.Wire < 8 {
		s.stats.Truncated++
		return
	}
	if (ip.Proto == packet.ProtoICMPv6) != ip.V6 {
		s.other(ip, m)
		return
	}
	answer, oneWay := packet.ICMPCounterpart(b[0], b[1], ip.V6)
	c, isOrig := s.find(ip, m, uint16(b[0]), uint16(answer), oneWay, nil)
	if !m.trust && len(b) >= ip.Wire {
		ok := packet.Sum(b[:ip.Wire], 0) == 0xffff
		if ip.V6 {
			ok = ip.ValidChecksum(b[:ip.Wire], packet.ProtoICMPv6)
		}
		if !ok {
			return
		}
	}
	c.last = m.now
	c.flow.add(isOrig, ip.Wire-8)
	if len(b) >= ip.Wire {
		c.count(isOrig, ip.Total)
	}
}

// other counts datagrams of transports that are not looked into.
func (s *shard) other(ip *packet.IP, m *meta) {
	c, isOrig := s.find(ip, m, 0, 0, false, nil)
	c.last = m.now
	c.count(isOrig, ip.Total)
}

// sweep ends the connections whose timers have run out. It changes no answer,
// only how long they are kept.
func (s *shard) sweep(now int64) {
	s.swept = now
	for c := range s.table.all() {
		if c.expired(now) {
			s.end(c)
		}
	}
}

// evict makes room: the eighth that was idle longest is ended.
func (s *shard) evict(now int64) {
	s.sweep(now)
	if s.table.len() < maxLive {
		return
	}
	all := make([]*conn, 0, s.table.len())
	for c := range s.table.all() {
		if !c.inHand { // else what made room necessary is inside it
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(x, y *conn) int {
		return cmp.Or(cmp.Compare(x.lastRec, y.lastRec), cmp.Compare(x.firstRec, y.firstRec))
	})
	for _, c := range all[:min(len(all), maxLive/8)] {
		s.stats.Evicted++
		c.limitReached()
		s.end(c)
	}
}

// end takes a connection out of the table and records it.
func (s *shard) end(c *conn) {
	s.table.remove(c)
	if c.app != nil {
		c.app.finish(c)
	}
	s.conns = append(s.conns, c.record())
	s.spares.give(c)
}

func (s *shard) finish() {
	all := make([]*conn, 0, s.table.len())
	for c := range s.table.all() {
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y *conn) int { return cmp.Compare(x.firstRec, y.firstRec) })
	for _, c := range all {
		s.end(c)
	}
}
