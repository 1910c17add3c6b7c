package network

import (
	"github.com/xentape/xentape/analyze/internal/packet"
	"github.com/xentape/xentape/format"
)

// Tuples names the flow a single packet belongs to, without following it. It is
// not safe for concurrent use.
type Tuples struct {
	frames packet.Frames
	ip     packet.IP
}

// CommunityID is the community id of the packet's outermost TCP or UDP flow; ok is
// false for packets without one (other transports, later fragments, nonsense).
func (t *Tuples) CommunityID(p *format.Packet) (id string, ok bool) {
	for _, f := range t.frames.Link(p.LinkType, p.Data) {
		if packet.DecodeIP(&t.ip, f.Data, len(f.Data), true) != packet.OK || len(t.ip.Payload) < 4 || t.ip.Offset != 0 {
			continue
		}
		if t.ip.Proto != packet.ProtoTCP && t.ip.Proto != packet.ProtoUDP {
			continue
		}
		s, d := packet.Ports(t.ip.Payload)
		return CommunityID(t.ip.Src, t.ip.Dst, s, d, t.ip.Proto, false), true
	}
	return "", false
}
