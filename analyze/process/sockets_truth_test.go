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
// an owner: addresses, ports, state and inode.
func requireSockets(t *testing.T, want *truth, got []process.Process) {
	table := map[uint64]string{}
	for name, text := range want.Global {
		kind := name[strings.LastIndex(name, "/")+1:]
		if !strings.Contains(name, "/net/") {
			continue
		}
		for _, l := range strings.Split(text, "\n")[1:] {
			if inode, s, ok := tableLine(kind, strings.Fields(l)); ok && inode != 0 {
				table[inode] = s
			}
		}
	}
	require.GreaterOrEqual(t, len(table), 14)
	held := map[uint64]string{}
	for _, p := range got {
		for _, s := range p.Sockets {
			if s.Proto == "tcp" && s.State == "CLOSE" {
				require.NotContains(t, table, s.Inode)
				continue // closed by the other end and not yet by the holder: in no table any more
			}
			held[s.Inode] = socketLine(&s)
			require.NotZero(t, s.NetNS)
		}
	}
	// The two ends the server has not accepted yet are in the tables without a
	// descriptor; they carry inode 0 there and are skipped above.
	require.Equal(t, lines(table), lines(held))
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
	case "tcp", "tcp6", "udp", "udp6", "raw", "raw6":
		if len(f) < 10 {
			return 0, "", false
		}
		inode, _ = strconv.ParseUint(f[9], 10, 64)
		st, _ := strconv.ParseInt(f[3], 16, 32)
		return inode, fmt.Sprintf("%s %s %s %d", strings.TrimSuffix(kind, "6"), hexAddr(f[1], kind == "raw"), hexAddr(f[2], false), st), true
	case "unix":
		if len(f) < 7 {
			return 0, "", false
		}
		inode, _ = strconv.ParseUint(f[6], 10, 64)
		path := ""
		if len(f) > 7 {
			path = f[7]
		}
		state := map[string]string{"01": "UNCONNECTED", "03": "CONNECTED"}[f[5]]
		if f[3] == "00010000" { // __SO_ACCEPTCON
			state = "LISTEN"
		}
		return inode, "unix " + state + " " + path, true
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

var states = map[string]int{"ESTABLISHED": 1, "FIN_WAIT2": 5, "CLOSE": 7, "CLOSE_WAIT": 8, "LISTEN": 10}

func socketLine(s *process.Socket) string {
	if s.Family == "unix" {
		return "unix " + s.State + " " + s.Path
	}
	kind := s.Proto
	if s.Type == "raw" {
		kind = "raw"
	}
	join := func(a string, p uint16) string { return netip.AddrPortFrom(netip.MustParseAddr(a), p).String() }
	return fmt.Sprintf("%s %s %s %d", kind, join(s.Local, s.LocalPort), join(s.Remote, s.RemotePort), states[s.State])
}
