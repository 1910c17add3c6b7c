package network

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/xentape/xentape/analyze/internal/http"
	"github.com/xentape/xentape/analyze/internal/packet"
)

// identify chooses a parser by the first bytes of both directions, and by the
// port where the bytes alone do not tell. nil means not yet, or never. The
// rules are those of Zeek's dpd.sig files.
func identify(c *conn, orig, resp []byte) parser {
	switch {
	case c.respPort == 53 && c.enabled("dns"):
		return &dnsParser{}
	case c.enabled("http") && (httpRequest(orig) || bytes.HasPrefix(resp, []byte("HTTP/"))):
		return newHTTP(c)
	case c.enabled("ssl") && (tlsHello(orig, 1) || tlsHello(resp, 2)): // an SSL 2 hello is known by its answer
		return &tlsParser{}
	case c.enabled("ssh") && (sshBanner(orig) || sshBanner(resp) || c.respPort == 22 && len(resp) > 0 && !binaryStart(resp)):
		return &sshParser{}
	}
	if c.enabled("socks") && socksStart(orig, resp) {
		return &socks{}
	}
	if p := identifyText(c, orig, resp); p != nil {
		return p
	}
	return identifyBinary(c, orig, resp)
}

// identifyText knows the protocols of lines, by port or by how both begin.
func identifyText(c *conn, orig, resp []byte) parser {
	first := firstWord(orig)
	switch {
	case c.enabled("ftp") && (c.respPort == 21 || c.respPort == 2811) && (len(resp) > 0 && !binaryStart(resp) || len(resp) == 0 && len(first) >= 3):
		return &dialog{rules: &ftp{}}
	case c.enabled("smtp") && (c.respPort == 25 || c.respPort == 587) && replies(resp, "220", "554"),
		c.enabled("smtp") && (first == "EHLO" || first == "HELO") && replies(resp, "220", ""):
		return &dialog{rules: smtp{}}
	case c.enabled("ftp") && first == "USER" && replies(resp, "220", "120"):
		return &dialog{rules: &ftp{}}
	case c.enabled("pop3") && bytes.HasPrefix(resp, []byte("+OK")) && slices.Contains([]string{"USER", "APOP", "CAPA", "AUTH", "STLS"}, first):
		return &dialog{rules: &pop3{}}
	case c.enabled("imap") && bytes.HasPrefix(resp, []byte("* OK")):
		return &dialog{rules: imap{}}
	case c.enabled("xmpp") && bytes.Contains(orig[:min(len(orig), 512)], []byte("<stream:stream")):
		return &xmpp{}
	case c.enabled("irc") && (c.respPort >= 6666 && c.respPort <= 6669 || bytes.Contains(orig, []byte("NICK ")) && bytes.Contains(orig, []byte("USER "))) &&
		slices.Contains(ircCommands, first):
		return &dialog{rules: irc{}}
	case c.enabled("rfb") && bytes.HasPrefix(resp, []byte("RFB 00")) && bytes.HasPrefix(orig, []byte("RFB 00")):
		return &named{service: "rfb"}
	case c.enabled("redis") && c.respPort == 6379 && len(orig) > 3 && orig[0] == '*' && len(resp) > 0 && bytes.IndexByte([]byte("+-:$*"), resp[0]) >= 0:
		return &named{service: "redis"}
	}
	return nil
}

// firstWord is the command a client's stream begins with, in upper case; "" when
// it does not begin like a line of text.
func firstWord(orig []byte) string {
	b := bytes.TrimLeft(orig[:min(len(orig), 64)], " \t")
	if len(b) == 0 || b[0] < ' ' || b[0] > '~' {
		return ""
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	word, _ := command(string(bytes.TrimRight(b, "\r")))
	return word
}

// replies reports whether a stream begins with one of two reply codes.
func replies(b []byte, one, other string) bool {
	return len(b) >= 3 && (string(b[:3]) == one || string(b[:3]) == other)
}

// identifyBinary knows protocols of framed messages.
func identifyBinary(c *conn, orig, resp []byte) parser {
	said := orig
	if len(said) == 0 {
		said = resp
	}
	if len(said) < 8 {
		return nil
	}
	switch {
	case c.enabled("ldap") && said[0] == 0x30 && ldapMessage(said) && (c.respPort == 389 || c.respPort == 3268 || len(orig) > 0 && ldapOp(orig) == 0x60 && len(resp) > 0):
		return newLDAP()
	case c.enabled("smb") && smb(said):
		return newSMB()
	case c.enabled("dce_rpc") && dceRPC(said):
		return newDCERPC()
	case c.enabled("krb") && len(said) > 12 && kerberosTCP(said):
		return newKerberos()
	case c.enabled("modbus") && c.respPort == 502 && binary.BigEndian.Uint16(said[2:]) == 0 && said[4] == 0:
		return newModbus()
	case c.enabled("mysql") && (c.respPort == 3306 || c.respPort == 1434) && len(resp) >= 5 && resp[3] == 0 && (resp[4] == 9 || resp[4] == 10):
		return newMySQL()
	case c.enabled("rdp") && len(orig) >= 11 && orig[0] == 3 && orig[5] == 0xe0 && len(resp) >= 11 && resp[0] == 3 && resp[5] == 0xd0:
		return &rdp{}
	}
	return nil
}

// kerberosTCP: a length, then a Kerberos message of that length.
func kerberosTCP(b []byte) bool {
	switch b[4] {
	case 0x6a, 0x6b, 0x6c, 0x6d, 0x7e:
		return berSize(b[4:]) == int(binary.BigEndian.Uint32(b))
	}
	return false
}

// httpMethods are the methods registered, and those of older extensions.
var httpMethods = [][]byte{
	[]byte("GET"), []byte("POST"), []byte("HEAD"), []byte("PUT"), []byte("DELETE"), []byte("OPTIONS"),
	[]byte("CONNECT"), []byte("TRACE"), []byte("PATCH"), []byte("QUERY"), []byte("PROPFIND"),
	[]byte("PROPPATCH"), []byte("MKCOL"), []byte("COPY"), []byte("MOVE"), []byte("LOCK"),
	[]byte("UNLOCK"), []byte("REPORT"), []byte("SEARCH"), []byte("SUBSCRIBE"), []byte("UNSUBSCRIBE"),
	[]byte("NOTIFY"), []byte("POLL"), []byte("M-SEARCH"), []byte("RPC_IN_DATA"), []byte("RPC_OUT_DATA"),
}

// httpRequest reports whether a stream begins with a request: a known method,
// or anything that ends in a version.
func httpRequest(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	for _, m := range httpMethods {
		if len(b) > len(m) && b[len(m)] == ' ' && bytes.HasPrefix(b, m) {
			return true
		}
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		return false
	}
	_, _, version, ok := http.RequestLine(bytes.TrimSuffix(line, []byte("\r")))
	return ok && version != "0.9"
}

// tlsHello reports whether a stream begins with a TLS record that holds a
// handshake message of the given type, after an alert perhaps.
func tlsHello(b []byte, typ byte) bool {
	if len(b) >= 7 && b[0] == 21 && b[1] == 3 && b[2] < 4 {
		b = b[7:]
	}
	return len(b) >= 11 && b[0] == 22 && b[1] == 3 && b[2] < 4 && b[5] == typ && (b[9] == 3 || b[9] == 0x7f)
}

func sshBanner(b []byte) bool {
	return len(b) >= 6 && bytes.EqualFold(b[:4], []byte("SSH-")) && (b[4] == '1' || b[4] == '2')
}

// binaryStart: a server may send lines of text before its version.
func binaryStart(b []byte) bool { return b[0] < 0x20 && b[0] != '\r' && b[0] != '\n' || b[0] >= 0x80 }

// An expectation is a connection announced inside another one: FTP's data, a
// file offered over IRC. Between the same two hosts it is in the same shard.
type expectation struct {
	addr packet.Addr
	port uint16
}

// maxExpected bounds the announcements remembered.
const maxExpected = 4096

func (t *content) expect(addr packet.Addr, port uint16, service string) {
	if t.expected == nil {
		t.expected = make(map[expectation]string)
	}
	if len(t.expected) < maxExpected {
		t.expected[expectation{addr, port}] = service
	}
}

// expects returns the service announced for a new connection, once.
func (t *content) expects(c *conn) string {
	k := expectation{c.resp, c.respPort}
	s := t.expected[k]
	delete(t.expected, k)
	return s
}
