package network

import (
	"bytes"

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
	case c.enabled("ssl") && (tlsHello(orig, 1) || tlsHello(resp, 2)):
		return &tlsParser{}
	case c.enabled("ssh") && (sshBanner(orig) || sshBanner(resp) || c.respPort == 22 && len(resp) > 0 && !binaryStart(resp)):
		return &sshParser{}
	}
	return nil
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
	return ok && version != ""
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

// announced is the parser of a connection that was announced: it is known by
// that, and its content is a file.
type announced struct{ service string }

func (p *announced) data(c *conn, _ bool, _ []byte) bool {
	c.addService(p.service)
	return true
}
func (p *announced) gap(*conn, bool, uint64) bool { return true }
func (p *announced) eof(*conn, bool)              {}
func (p *announced) finish(*conn)                 {}
