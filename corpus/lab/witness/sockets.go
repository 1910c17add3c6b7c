//go:build linux

package main

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xentape/xentape/corpus/lab/truth"
)

// Names of include/net/tcp_states.h, in their order from 1.
var tcpStates = []string{
	"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
	"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
}

// readSockets maps "socket:[INODE]", as a descriptor's link shows it, to the
// internet socket of that inode.
func readSockets(dir string) (map[string]truth.Socket, error) {
	sockets := make(map[string]truth.Socket)
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join(dir, table))
		if os.IsNotExist(err) {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			if i == 0 {
				continue
			}
			inode, s, err := parseSocket(line, strings.TrimSuffix(table, "6"))
			if err != nil {
				return nil, fmt.Errorf("%s line %d: %w", table, i+1, err)
			}
			sockets["socket:["+inode+"]"] = s
		}
	}
	return sockets, nil
}

// parseSocket reads one line of /proc/net/{tcp,udp}: addresses are words in
// the CPU's order, printed in hexadecimal.
func parseSocket(line, proto string) (inode string, s truth.Socket, err error) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return "", s, fmt.Errorf("%d fields", len(f))
	}
	s.Proto = proto
	if s.Local, err = address(f[1]); err != nil {
		return "", s, err
	}
	if s.Remote, err = address(f[2]); err != nil {
		return "", s, err
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil {
		return "", s, err
	}
	if int(state) < len(tcpStates) {
		s.State = tcpStates[state]
	}
	return f[9], s, nil
}

func address(text string) (string, error) {
	host, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if !ok || err != nil || len(raw)%4 != 0 {
		return "", fmt.Errorf("address %q", text)
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return "", fmt.Errorf("address %q", text)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)).String(), err
}
