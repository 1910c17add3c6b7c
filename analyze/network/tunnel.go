package network

import (
	"slices"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// maxTunnelChanges is how often a connection may change its tunnel before that
// is no longer noted (Zeek's Tunnel::max_changes_per_connection).
const maxTunnelChanges = 5

// tunnelRef is one enclosing tunnel.
type tunnelRef struct {
	uid  string
	kind packet.TunnelKind
}

// tunnelState is what a connection remembers of the tunnels it came through.
type tunnelState struct {
	current []tunnelRef
	parents []string // uids of the innermost enclosing tunnels, in order met
	changes int
	bad     bool    // its datagrams turned out not to be the tunnel its port says
	valid   [2]bool // for Teredo: directions with well-formed packets
}

func (t *tunnelState) begin(encap []tunnelRef) {
	if len(encap) > 0 {
		t.current = slices.Clone(encap)
		t.parents = append(t.parents, encap[len(encap)-1].uid)
	}
}

// checkTunnel notes that a packet of c came through other tunnels than the last.
func (c *conn) checkTunnel(encap []tunnelRef) {
	t := &c.tunnel
	if len(encap) == 0 && len(t.current) == 0 || slices.Equal(encap, t.current) {
		return
	}
	if t.changes >= maxTunnelChanges {
		c.limitReached()
		return
	}
	t.changes++
	t.current = slices.Clone(encap)
	if len(encap) > 0 {
		if uid := encap[len(encap)-1].uid; !slices.Contains(t.parents, uid) {
			t.parents = append(t.parents, uid)
		}
	}
}

// tunnelKey identifies a tunnel without ports by its ends.
type tunnelKey struct{ a, b packet.Addr }

// maxIPTunnels bounds the table of tunnels without ports.
const maxIPTunnels = 65536

// ipTunnelUID names the tunnel between two addresses; it stays the same for as
// long as the tape.
func (s *shard) ipTunnelUID(ip *packet.IP, m *meta) string {
	k := tunnelKey{ip.Src, ip.Dst}
	if ip.Src.Compare(&ip.Dst) > 0 {
		k = tunnelKey{ip.Dst, ip.Src}
	}
	if uid, ok := s.ipTunnels[k]; ok {
		return uid
	}
	if s.ipTunnels == nil || len(s.ipTunnels) >= maxIPTunnels {
		s.ipTunnels = make(map[tunnelKey]string)
	}
	uid := makeUID(makeKey(&ip.Src, &ip.Dst, 0, 0, ip.Proto, false), m.iface, m.now+s.opt.RealtimeOffset, 0)
	s.ipTunnels[k] = uid
	return uid
}

// ipTunnel handles a packet directly in IP, or behind a header without ports.
func (s *shard) ipTunnel(ip *packet.IP, m *meta, kind packet.TunnelKind, in packet.Inner, b []byte) {
	if len(m.encap) >= maxDepth {
		return
	}
	s.descend(m, tunnelRef{s.ipTunnelUID(ip, m), kind}, in, b)
}

func (s *shard) gre(ip *packet.IP, m *meta, b []byte) {
	in, v := packet.DecodeGRE(b)
	if v != packet.Carries {
		s.stats.Malformed++
		return
	}
	s.ipTunnel(ip, m, packet.TunnelGRE, in, b)
}

// udpTunnel handles the payload of a connection to a tunnel's port.
func (s *shard) udpTunnel(c *conn, ip *packet.IP, m *meta, kind packet.TunnelKind, isOrig bool, b []byte) {
	t := &c.tunnel
	if kind == packet.TunnelGRE {
		s.gre(ip, m, b)
		return
	}
	if t.bad && kind != packet.TunnelGTPv1 {
		return
	}
	if len(m.encap) >= maxDepth {
		c.limitReached()
		return
	}
	var in packet.Inner
	var v packet.Verdict
	switch kind {
	case packet.TunnelVXLAN:
		in, v = packet.DecodeVXLAN(b)
	case packet.TunnelGeneve:
		in, v = packet.DecodeGeneve(b)
	case packet.TunnelTeredo:
		in, v = packet.DecodeTeredo(b)
	case packet.TunnelAYIYA:
		in, v = packet.DecodeAYIYA(b)
	case packet.TunnelGTPv1:
		if n := len(m.encap); n > 0 && m.encap[n-1].kind == packet.TunnelGTPv1 {
			v = packet.Violation // a user's own packet that looks like GTP
		} else {
			in, v = packet.DecodeGTP(b)
		}
	}
	switch v {
	case packet.Violation:
		t.bad = true
		c.dropService(kind.String())
		return
	case packet.Ignored:
		return
	}
	t.valid[side(isOrig)] = true
	if kind != packet.TunnelTeredo || t.valid[0] && t.valid[1] {
		c.addService(kind.String())
	}
	if v == packet.Carries {
		s.descend(m, tunnelRef{c.uid(), kind}, in, b)
	}
}

// descend decodes the packet inside a tunnel as though it had come by itself.
func (s *shard) descend(m *meta, ref tunnelRef, in packet.Inner, b []byte) {
	depth := len(m.encap) + 1
	inner := &s.metas[depth]
	*inner = *m
	inner.encap = append(m.encap[:len(m.encap):len(m.encap)], ref)
	inner.vlan, inner.innerVLAN = 0, 0
	b = b[in.Skip:]
	for _, f := range s.depth[depth].Link(in.Link, b) {
		ip := &s.inner[depth]
		inner.missing = m.missing
		if r := packet.DecodeIP(ip, f.Data, len(f.Data)+f.Trimmed+inner.missing, m.trust); r != packet.OK {
			s.stats.reject(r)
			continue
		}
		if ip.Fragment {
			s.stats.Fragments++
			if len(ip.Payload) >= ip.Wire {
				if !s.defrag.Add(ip, m.now) {
					continue
				}
				inner.missing = 0
			} else if ip.Offset != 0 {
				s.stats.Truncated++
				continue
			}
		}
		s.datagram(ip, inner)
	}
}
