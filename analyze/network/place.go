package network

import (
	"encoding/binary"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// A relay is an address and port that Teredo was seen at. Teredo's servers have
// a port of their own, its relays have not: they are known by the client.
type relay struct {
	addr packet.Addr
	port uint16
}

// maxRelays bounds the relays remembered.
const maxRelays = 65536

// shardOf places a datagram. Everything between two addresses shares a table,
// because protocols announce connections between the same hosts (FTP). What
// may be a tunnel goes to table 0, because the same inner flow may come through
// several tunnels.
func (a *Analyzer) shardOf(ip *packet.IP) int {
	switch ip.Proto {
	case packet.ProtoGRE, packet.ProtoIPv4, packet.ProtoIPv6:
		return 0
	case packet.ProtoUDP:
		if len(ip.Payload) >= 8 && a.tunnelled(ip) {
			return 0
		}
	}
	h := hashAddr(&ip.Src) + hashAddr(&ip.Dst)
	h ^= h >> 29
	h *= 0x9e3779b97f4a7c15
	return int(h >> 60)
}

func hashAddr(a *packet.Addr) uint64 {
	h := binary.LittleEndian.Uint64(a[:]) ^ binary.LittleEndian.Uint64(a[8:])*0xbf58476d1ce4e5b9
	h ^= h >> 31
	return h * 0x94d049bb133111eb
}

// tunnelled reports whether a UDP datagram may carry a tunnel.
func (a *Analyzer) tunnelled(ip *packet.IP) bool {
	sp, dp := packet.Ports(ip.Payload)
	ks, kd := packet.TunnelPort(sp), packet.TunnelPort(dp)
	if ks == packet.TunnelTeredo || kd == packet.TunnelTeredo || packet.LooksTeredo(ip.Payload[8:]) {
		if a.relays == nil {
			a.relays = make(map[relay]struct{})
		}
		if len(a.relays) < maxRelays {
			a.relays[relay{ip.Src, sp}] = struct{}{}
			a.relays[relay{ip.Dst, dp}] = struct{}{}
		}
		return true
	}
	if ks != packet.NoTunnel || kd != packet.NoTunnel {
		return true
	}
	if len(a.relays) == 0 {
		return false
	}
	_, s := a.relays[relay{ip.Src, sp}]
	_, d := a.relays[relay{ip.Dst, dp}]
	return s || d
}
