package network

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/xentape/xentape/analyze/internal/packet"
)

// ftp: RFC 959 and 2428; AUTH TLS of RFC 4217. It announces data connections.
type ftp struct {
	pending   string // code of a reply of several lines that goes on
	confirmed bool
}

// maxFTPCommand is Zeek's FTP::max_command_length.
const maxFTPCommand = 100

func (*ftp) name() string { return "ftp" }

func (f *ftp) line(c *conn, d *dialog, isOrig bool, line string) verdict {
	if line == "" {
		return goOn
	}
	if isOrig {
		return f.command(c, d, line)
	}
	code, last := replyCode(line)
	switch {
	case f.pending != "":
		if code != f.pending || len(line) <= 3 || line[3] != ' ' {
			return goOn
		}
		f.pending = ""
	case code < "100", len(line) > 3 && line[3] != ' ' && line[3] != '-':
		if c.violation("ftp") {
			return leave
		}
		return goOn
	case !last:
		f.pending = code
	}
	switch code {
	case "227":
		if i := strings.IndexFunc(line[3:], func(r rune) bool { return r >= '0' && r <= '9' }); i >= 0 {
			c.expectFTP(hostPort(line[3+i:]))
		}
	case "229":
		if i := strings.IndexByte(line, '('); i >= 0 {
			c.expectFTP(extendedPort(line[i+1:], c.resp))
		}
	case "234":
		if last && d.tls {
			return startTLS
		}
	}
	return goOn
}

// command takes a line of the client: any word of three printable characters at
// least is a command, known or not.
func (f *ftp) command(c *conn, d *dialog, line string) verdict {
	word, rest := command(line)
	if len(word) < 3 || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return goOn
	}
	if len(word) > maxFTPCommand {
		if f.confirmed {
			c.limitReached()
		}
		return goOn
	}
	f.confirmed = true
	d.prompt = word
	d.tls = word == "AUTH" && strings.EqualFold(rest, "TLS")
	switch word {
	case "PORT":
		c.expectFTP(hostPort(rest))
	case "EPRT":
		c.expectFTP(extendedPort(rest, c.orig))
	}
	return confirm
}

func (c *conn) expectFTP(a packet.Addr, port uint16) {
	if port != 0 {
		c.shard.content.expect(a, port, "ftp-data")
	}
}

// hostPort reads h1,h2,h3,h4,p1,p2 (RFC 959 §4.1.2).
func hostPort(s string) (a packet.Addr, port uint16) {
	f := strings.SplitN(s, ",", 6)
	if len(f) != 6 {
		return a, 0
	}
	var n [6]byte
	for i, x := range f {
		if i == 5 {
			x = strings.TrimRight(strings.TrimSpace(x), ").\r")
		}
		v, err := strconv.ParseUint(strings.TrimSpace(x), 10, 8)
		if err != nil {
			return a, 0
		}
		n[i] = byte(v)
	}
	return packet.Addr(netip.AddrFrom4([4]byte(n[:4])).As16()), uint16(n[4])<<8 | uint16(n[5])
}

// extendedPort reads |protocol|address|port| (RFC 2428 §2); an empty address is
// that of the host itself.
func extendedPort(s string, own packet.Addr) (a packet.Addr, port uint16) {
	if s == "" {
		return own, 0
	}
	f := strings.Split(s, s[:1])
	if len(f) < 4 {
		return own, 0
	}
	n, err := strconv.ParseUint(f[3], 10, 16)
	if err != nil {
		return own, 0
	}
	if ip, err := netip.ParseAddr(f[2]); err == nil {
		own = packet.Addr(ip.As16())
	}
	return own, uint16(n)
}

// expectDCC reads what follows DCC SEND: a file name, the sender's IPv4 address
// as a number, a port.
func (c *conn) expectDCC(s string) {
	f := strings.Fields(strings.Trim(s, "\x01"))
	if len(f) < 3 {
		return
	}
	k := len(f) - 1 // a size may follow the port
	for k >= 2 && !(isNumber(f[k]) && isNumber(f[k-1])) {
		k--
	}
	if k < 2 {
		return
	}
	if k > 2 && isNumber(f[k-2]) && len(f[k-2]) > 5 {
		k--
	}
	ip, err1 := strconv.ParseUint(f[k-1], 10, 32)
	port, err2 := strconv.ParseUint(strings.TrimRight(f[k], "\x01"), 10, 16)
	if err1 == nil && err2 == nil && port != 0 {
		a := netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
		c.shard.content.expect(packet.Addr(a.As16()), uint16(port), "irc-dcc-data")
	}
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
