package process_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// requireSockets compares every socket in the guest's /proc/net tables that has
// an owner: addresses, ports, state, protocol and inode, in every network
// namespace.
func requireSockets(t *testing.T, want *truth, got []process.Process) {
	table := map[uint64]string{}
	kinds := map[string]bool{}
	add := func(kind, text string) {
		kinds[kind] = true
		for _, l := range strings.Split(text, "\n")[1:] {
			if inode, s, ok := tableLine(kind, strings.Fields(l)); ok && inode != 0 {
				table[inode] = s
			}
		}
	}
	for name, text := range want.Global {
		if strings.Contains(name, "/net/") {
			add(name[strings.LastIndex(name, "/")+1:], text)
		}
	}
	for _, p := range want.Processes {
		for kind, text := range p.NetFiles {
			add(kind, text)
		}
	}
	require.GreaterOrEqual(t, len(table), 14)
	held := map[uint64]string{}
	for _, p := range got {
		for _, s := range p.Sockets {
			line, kind := socketLine(&s)
			require.NotZero(t, s.NetNS)
			if !kinds[kind] {
				continue // a table the recording does not have
			}
			if _, ok := table[s.Inode]; !ok && unlisted(&s) {
				continue
			}
			held[s.Inode] = line
		}
	}
	// Sockets the kernel made for itself have no descriptor; nor have the ends
	// that a server has not accepted yet, which carry inode 0 in the tables.
	for i, s := range table {
		if strings.HasPrefix(s, "netlink ") && held[i] == "" {
			delete(table, i)
		}
	}
	require.Equal(t, lines(table), lines(held))
}

// unlisted says whether a socket that is open may be in no table: one that was
// never bound, or that the other end closed and its holder did not yet.
func unlisted(s *process.Socket) bool {
	switch s.Proto {
	case "tcp", "mptcp":
		return s.State == "CLOSE"
	case "udp", "udplite", "icmp", "icmpv6":
		return s.LocalPort == 0
	}
	return s.Family == "netlink" && s.PortID == 0
}

func lines(m map[uint64]string) []string {
	var out []string
	for i, s := range m {
		out = append(out, fmt.Sprint(i, " ", s))
	}
	slices.Sort(out)
	return out
}

func tableLine(kind string, f []string) (inode uint64, line string, ok bool) {
	switch kind {
	case "tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6":
		if len(f) < 10 {
			return 0, "", false
		}
		inode, _ = strconv.ParseUint(f[9], 10, 64)
		st, _ := strconv.ParseInt(f[3], 16, 32)
		return inode, fmt.Sprintf("%s %s %s %d", strings.TrimSuffix(kind, "6"), hexAddr(f[1], strings.HasPrefix(kind, "raw")), hexAddr(f[2], false), st), true
	case "netlink":
		if len(f) < 10 {
			return 0, "", false
		}
		inode, _ = strconv.ParseUint(f[9], 10, 64)
		return inode, "netlink " + f[1] + " " + f[2], true
	case "packet":
		if len(f) < 9 {
			return 0, "", false
		}
		inode, _ = strconv.ParseUint(f[8], 10, 64)
		return inode, "packet " + strings.Join(f[2:5], " "), true
	case "unix":
		if len(f) < 7 {
			return 0, "", false
		}
		inode, _ = strconv.ParseUint(f[6], 10, 64)
		path := strings.Join(f[7:], " ")
		state := map[string]string{"01": "UNCONNECTED", "02": "CONNECTING", "03": "CONNECTED"}[f[5]]
		if f[3] == "00010000" { // __SO_ACCEPTCON
			state = "LISTEN"
		}
		return inode, strings.TrimSpace("unix " + state + " " + path), true
	}
	return 0, "", false
}

// hexAddr turns the words of /proc/net, each in the CPU's byte order, into an
// address and port.
func hexAddr(s string, noPort bool) string {
	a, p, _ := strings.Cut(s, ":")
	b, _ := hex.DecodeString(a)
	for i := 0; i+4 <= len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	addr, _ := netip.AddrFromSlice(b)
	port, _ := strconv.ParseUint(p, 16, 16)
	if noPort {
		port = 0
	}
	return netip.AddrPortFrom(addr, uint16(port)).String()
}

var states = map[string]int{"ESTABLISHED": 1, "FIN_WAIT2": 5, "CLOSE": 7, "CLOSE_WAIT": 8, "LISTEN": 10, "SYN_SENT": 2, "FIN_WAIT1": 4, "LAST_ACK": 9, "CLOSING": 11}

// socketLine is a socket as its table has it, and which table that is.
func socketLine(s *process.Socket) (line, kind string) {
	switch s.Family {
	case "unix":
		return strings.TrimSpace("unix " + s.State + " " + s.Path), "unix"
	case "netlink":
		return fmt.Sprintf("netlink %d %d", s.ProtoNumber, s.PortID), "netlink"
	case "packet":
		types := map[string]int{"raw": 3, "dgram": 2}
		return fmt.Sprintf("packet %d %04x %d", types[s.Type], s.ProtoNumber, s.Interface), "packet"
	case "inet", "inet6":
	default:
		return "", s.Family
	}
	kind = s.Proto
	if s.Type == "raw" {
		kind = "raw"
	}
	if kind = strings.TrimSuffix(kind, "v6"); kind == "mptcp" {
		kind = "tcp" // the table has its first flow, under the same inode
	}
	join := func(a string, p uint16) string { return netip.AddrPortFrom(netip.MustParseAddr(a), p).String() }
	line = fmt.Sprintf("%s %s %s %d", kind, join(s.Local, s.LocalPort), join(s.Remote, s.RemotePort), states[s.State])
	if s.Family == "inet6" {
		kind += "6"
	}
	return line, kind
}
