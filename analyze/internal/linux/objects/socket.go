package objects

import (
	"bytes"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/xentape/xentape/analyze/internal/linux"
)

// Socket is one socket.
type Socket struct {
	Addr       uint64 // of struct sock
	Family     int
	Type       int
	Protocol   int
	State      int // sk_state, a TCP state
	SocketFlag int // socket.state: 1 unconnected, 2 connecting, 3 connected
	Local      netip.AddrPort
	Remote     netip.AddrPort
	Path       string // unix; '@' for the NUL of an abstract name
	PeerInode  uint64 // unix
	PortID     uint32 // netlink
	Interface  int    // bound device, or a packet socket's
	Inode      uint64
	NetNS      uint64
	PeerPID    uint64 // struct pid of who connected, listens or made the pair; 0 for most families
}

// Address families (include/linux/socket.h).
const (
	familyUnix    = 1
	familyInet    = 2
	familyInet6   = 10
	familyNetlink = 16
	familyPacket  = 17
	typeRaw       = 3
)

// Socket reads the socket behind an open file of sockfs; ok is false for a
// socket without protocol part: being made or torn down.
func (v *View) Socket(f *File) (s Socket, ok bool, err error) {
	in := v.K.At(f.Inode.Addr, "inode")
	o := in.Outer(f.Inode.Addr, "socket_alloc", "vfs_inode").In("socket")
	s = Socket{Addr: o.Ptr("sk"), Type: int(o.Uint("type")), SocketFlag: int(o.Uint("state")), Inode: f.Inode.Number}
	if o.Err() != nil || s.Addr == 0 {
		return s, false, o.Err()
	}
	sk := o.Cast(s.Addr, "sock")
	s.Family = int(sk.Uint("__sk_common.skc_family"))
	s.State = int(sk.Uint("__sk_common.skc_state"))
	s.Protocol = int(sk.Uint("sk_protocol"))
	s.Interface = int(sk.Int("__sk_common.skc_bound_dev_if"))
	if net := sk.Ptr("__sk_common.skc_net.net"); net != 0 {
		s.NetNS = sk.Cast(net, "net").Uint("ns.inum")
	}
	if sk.Has("sk_peer_pid") {
		s.PeerPID = sk.Ptr("sk_peer_pid")
	}
	switch s.Family {
	case familyInet, familyInet6:
		v.inet(sk, &s)
	case familyUnix:
		v.unix(sk, &s)
	case familyNetlink:
		s.PortID = uint32(sk.Cast(s.Addr, "netlink_sock").Uint("portid"))
	case familyPacket:
		p := sk.Cast(s.Addr, "packet_sock")
		s.Protocol = int(bits.ReverseBytes16(uint16(p.Uint("num"))))
		s.Interface = int(p.Int("ifindex"))
	}
	if sk.Err() != nil {
		return s, false, fmt.Errorf("socket %d, sock at %#x: %w", s.Inode, s.Addr, sk.Err())
	}
	return s, true, nil
}

func (v *View) inet(sk linux.Object, s *Socket) {
	lport := uint16(sk.Uint("__sk_common.skc_num"))
	rport := bits.ReverseBytes16(uint16(sk.Uint("__sk_common.skc_dport")))
	switch {
	case s.Type == typeRaw: // skc_num is the protocol
		lport = 0
	case lport == 0: // released at close; the source port stays readable
		lport = bits.ReverseBytes16(uint16(sk.Cast(s.Addr, "inet_sock").Uint("inet_sport")))
	}
	local, remote := "__sk_common.skc_rcv_saddr", "__sk_common.skc_daddr"
	if s.Family == familyInet6 {
		local, remote = "__sk_common.skc_v6_rcv_saddr", "__sk_common.skc_v6_daddr"
	}
	addr := func(path string) netip.Addr {
		a, _ := netip.AddrFromSlice(sk.Raw(path, 16))
		return a
	}
	s.Local, s.Remote = netip.AddrPortFrom(addr(local), lport), netip.AddrPortFrom(addr(remote), rport)
}

func (v *View) unix(sk linux.Object, s *Socket) {
	u := sk.Cast(s.Addr, "unix_sock")
	if at := u.Ptr("addr"); at != 0 {
		a := u.Cast(at, "unix_address")
		if n := a.Int("len"); n > 2 && n <= 110 { // sizeof(struct sockaddr_un)
			b := make([]byte, n)
			if _, err := v.K.Space.Read(a.Member("name"), b); err == nil {
				s.Path = unixName(b[2:])
			}
		}
	}
	if peer := u.Ptr("peer"); peer != 0 {
		p := u.Cast(peer, "sock")
		if so := p.Ptr("sk_socket"); so != 0 {
			s.PeerInode = p.Outer(so, "socket_alloc", "socket").Uint("vfs_inode.i_ino")
		}
	}
}

func unixName(b []byte) string {
	if len(b) > 0 && b[0] == 0 { // abstract: its length counts, NULs included
		return "@" + string(bytes.ReplaceAll(b[1:], []byte{0}, []byte{'@'}))
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// FamilyName is the name of an address family as socket(2) has it.
func (s *Socket) FamilyName() string {
	return nameOf(map[int]string{
		familyUnix: "unix", familyInet: "inet", familyInet6: "inet6", familyNetlink: "netlink", familyPacket: "packet",
		15: "key", 29: "can", 31: "bluetooth", 38: "alg", 40: "vsock", 44: "xdp",
	}, s.Family)
}

// TypeName is the name of a socket type.
func (s *Socket) TypeName() string {
	return nameOf(map[int]string{1: "stream", 2: "dgram", typeRaw: "raw", 4: "rdm", 5: "seqpacket", 10: "packet"}, s.Type)
}

// ProtoName is the protocol: of IP, of netlink, or an ethertype.
func (s *Socket) ProtoName() string {
	switch s.Family {
	case familyInet, familyInet6:
		return nameOf(map[int]string{0: "ip", 1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 50: "esp", 58: "icmpv6", 132: "sctp", 136: "udplite", 255: "raw", 262: "mptcp"}, s.Protocol)
	case familyUnix:
		return "unix"
	case familyNetlink:
		return nameOf(map[int]string{0: "route", 2: "usersock", 4: "sock_diag", 6: "xfrm", 9: "audit", 12: "netfilter", 15: "kobject_uevent", 16: "generic", 21: "crypto"}, s.Protocol)
	case familyPacket:
		return nameOf(map[int]string{0: "none", 3: "all", 0x800: "ip", 0x806: "arp", 0x86dd: "ipv6"}, s.Protocol)
	}
	return fmt.Sprint(s.Protocol)
}

// StateName is the state under the kernel's own names.
func (s *Socket) StateName() string {
	const listen = 10
	switch {
	case s.Family == familyInet || s.Family == familyInet6:
		return nameOf(map[int]string{
			1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
			8: "CLOSE_WAIT", 9: "LAST_ACK", listen: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV",
		}, s.State)
	case s.Family == familyUnix: // as unix_seq_show; socket.state is no longer kept in 7.x
		return nameOf(map[int]string{1: "CONNECTED", 2: "CONNECTING", 7: "UNCONNECTED", listen: "LISTEN"}, s.State)
	}
	return nameOf(map[int]string{0: "FREE", 1: "UNCONNECTED", 2: "CONNECTING", 3: "CONNECTED", 4: "DISCONNECTING"}, s.SocketFlag)
}

func nameOf(names map[int]string, v int) string {
	if s, ok := names[v]; ok {
		return s
	}
	return fmt.Sprint(v)
}
