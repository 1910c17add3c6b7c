package network

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/http"
)

// An HTTP record is a request with its response, under the names of Zeek's
// http.log.
type HTTP struct {
	Header
	TransDepth      uint64   `json:"trans_depth"` // place in the connection, from 1
	Method          string   `json:"method,omitempty"`
	Host            string   `json:"host,omitempty"`
	URI             string   `json:"uri,omitempty"`
	Referrer        string   `json:"referrer,omitempty"`
	Version         string   `json:"version,omitempty"`
	UserAgent       string   `json:"user_agent,omitempty"`
	Origin          string   `json:"origin,omitempty"`
	RequestBodyLen  uint64   `json:"request_body_len"`
	ResponseBodyLen uint64   `json:"response_body_len"`
	StatusCode      *uint64  `json:"status_code,omitempty"`
	StatusMsg       string   `json:"status_msg,omitempty"`
	InfoCode        *uint64  `json:"info_code,omitempty"`
	InfoMsg         string   `json:"info_msg,omitempty"`
	Username        string   `json:"username,omitempty"`
	Proxied         []string `json:"proxied,omitempty"`
	OrigFUIDs       []string `json:"orig_fuids,omitempty"`
	OrigFilenames   []string `json:"orig_filenames,omitempty"`
	OrigMIMETypes   []string `json:"orig_mime_types,omitempty"`
	RespFUIDs       []string `json:"resp_fuids,omitempty"`
	RespFilenames   []string `json:"resp_filenames,omitempty"`
	RespMIMETypes   []string `json:"resp_mime_types,omitempty"`
}

// httpParser follows both directions of an HTTP connection.
type httpParser struct {
	c         *conn
	tunnel    bool
	keepAlive bool
	connect   bool // CONNECT was asked for
	requests  int
	upgrade   string
	side      [2]httpSide
	state     httpState
}

// httpSide is one direction's stream and the message in it.
type httpSide struct {
	p        *httpParser
	isOrig   bool
	failed   bool
	packing  bool
	inLines  bool
	file     *fileSink
	files    int // in this message
	bodyLen  uint64
	parts    *multipart
	stream   http.Stream
	lines    lineCount
	encoding string
	packed   []byte // encoded body, decoded when whole
	typ      string
	filename string
}

func newHTTP(c *conn) *httpParser {
	p := &httpParser{c: c}
	p.side[0] = httpSide{p: p, isOrig: true}
	p.side[1] = httpSide{p: p, stream: http.Stream{Responses: true}}
	return p
}

func (p *httpParser) data(c *conn, isOrig bool, b []byte) bool {
	s := &p.side[side(isOrig)]
	if !s.failed {
		used, ok := s.stream.Feed(b, s)
		if !ok {
			s.failed = true
			if c.violation("http") && !isOrig {
				p.finish(c)
				return false
			}
			// What is no request may be answered in HTTP all the same.
		} else if used < len(b) || p.tunnel {
			p.finish(c)
			c.app.reopen()
			if used < len(b) {
				c.app.identify(c, isOrig, b[used:])
			}
			return false
		}
	}
	if p.tunnel {
		p.finish(c)
		c.app.reopen()
		return false
	}
	return !p.side[0].failed || !p.side[1].failed
}

func (p *httpParser) gap(_ *conn, isOrig bool, n uint64) bool {
	s := &p.side[side(isOrig)]
	if !s.failed && !s.stream.Gap(n, s) {
		s.failed = true
	}
	return !p.side[0].failed || !p.side[1].failed
}

func (p *httpParser) eof(_ *conn, isOrig bool) {
	s := &p.side[side(isOrig)]
	if !s.failed {
		s.stream.End(s)
	}
}

func (p *httpParser) finish(c *conn) {
	for i := range p.side {
		if s := &p.side[i]; !s.failed {
			s.stream.End(s)
		}
	}
	p.state.flush(c)
}

// The methods of httpSide implement http.Handler for one direction.

// Expected reports whether another request may follow.
func (s *httpSide) Expected() bool { return s.p.requests == 0 || s.p.keepAlive }

// Request begins a record.
func (s *httpSide) Request(method, uri, version string) {
	p := s.p
	p.c.confirm("http")
	p.requests++
	p.keepAlive = p.keepAlive || version > "1.0"
	p.connect = p.connect || strings.EqualFold(method, "CONNECT")
	h := p.state.request(p.c, method)
	h.Method, h.URI = method, unescapeURI(uri)
	p.side[1].stream.Bare = version == "0.9"
	s.reset()
}

// Status takes the oldest request that has no final response yet.
func (s *httpSide) Status(version string, code int, reason string) {
	p := s.p
	if len(p.state.methods) > 0 {
		p.c.confirm("http")
	}
	p.keepAlive = p.keepAlive || version > "1.0"
	p.connect = p.connect && code == 200
	h := p.state.response(p.c)
	n := uint64(code)
	h.StatusCode, h.StatusMsg, h.Version = &n, reason, version
	if code/100 == 1 {
		h.InfoCode, h.InfoMsg = &n, reason
	}
	s.reset()
}

func (s *httpSide) reset() {
	s.bodyLen, s.files, s.encoding, s.typ, s.filename = 0, 0, "", "", ""
	s.packed, s.packing, s.parts = nil, false, nil
	s.inLines, s.lines = false, lineCount{}
}

var proxyHeaders = []string{
	"FORWARDED", "X-FORWARDED-FOR", "X-FORWARDED-FROM", "CLIENT-IP", "VIA", "XROXY-CONNECTION", "PROXY-CONNECTION",
}

// Field notes the header fields Zeek logs.
func (s *httpSide) Field(name, value string) {
	h := s.p.state.record(s.p.c, s.isOrig)
	switch name {
	case "CONTENT-ENCODING":
		s.encoding, _, _ = strings.Cut(strings.ToLower(value), ",")
	case "CONTENT-TYPE":
		s.typ = value
		if f := fileName(value, "name"); f != "" {
			s.filename = f
		}
	case "CONTENT-DISPOSITION":
		if f := fileName(value, "filename"); f != "" {
			s.filename = f
		}
	case "UPGRADE":
		if !s.isOrig {
			s.p.upgrade = strings.ToLower(value)
		}
	}
	if s.isOrig {
		s.requestField(h, name, value)
	}
}

func (s *httpSide) requestField(h *HTTP, name, value string) {
	switch {
	case name == "HOST":
		h.Host = value
	case name == "REFERER":
		h.Referrer = value
	case name == "ORIGIN":
		h.Origin = value
	case name == "USER-AGENT":
		h.UserAgent = value
	case name == "CONNECTION":
		s.p.keepAlive = s.p.keepAlive || strings.HasPrefix(strings.ToLower(value), "keep-alive")
	case name == "AUTHORIZATION" || name == "PROXY-AUTHORIZATION":
		if user, basic := basicUser(value); basic {
			h.Username = user
		}
	case slices.Contains(proxyHeaders, name):
		if v := name + " -> " + value; !slices.Contains(h.Proxied, v) {
			h.Proxied = append(h.Proxied, v)
		}
	}
}

// HeaderDone says when no body follows, or no HTTP.
func (s *httpSide) HeaderDone() (bodiless, last bool) {
	p := s.p
	if b := boundaryOf(s.typ); b != "" && s.encoding == "" {
		s.parts = newMultipart(s, b)
	}
	if s.isOrig {
		return false, false
	}
	code := p.state.record(p.c, false).StatusCode
	switch {
	case code != nil && *code == 101 && p.upgrade != "":
		p.tunnel = true
		if p.upgrade == "websocket" {
			p.c.addService("websocket")
		}
	case p.connect:
		p.tunnel = true
	}
	return len(p.state.methods) > 0 && strings.EqualFold(p.state.methods[0], "HEAD"), p.tunnel
}

// Done ends a message; the response's end completes the record.
func (s *httpSide) Done(complete bool) {
	p := s.p
	if s.packing {
		s.unpack(complete)
	}
	switch {
	case s.parts != nil:
		s.bodyLen = s.parts.finish(complete)
		s.parts = nil
	case s.inLines:
		s.bodyLen = s.lines.total()
	}
	s.closeFile(complete)
	h := p.state.record(p.c, s.isOrig)
	h.LastRecord = max(h.LastRecord, p.c.lastRec)
	if s.isOrig {
		h.RequestBodyLen = s.bodyLen
		return
	}
	h.ResponseBodyLen = s.bodyLen
	if !informational(h.StatusCode) {
		p.state.popMethod()
	}
	if !informational(h.StatusCode) || p.tunnel {
		p.state.write(p.c, p.state.current[1])
	}
}

// basicUser returns the user of Basic credentials (RFC 7617).
func basicUser(v string) (user string, basic bool) {
	if len(v) < 6 || !strings.EqualFold(v[:6], "basic ") {
		return "", false
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v[6:]))
	if user, _, found := strings.Cut(string(b), ":"); err == nil && found {
		return user, true
	}
	return "<problem-decoding> (" + v + ")", true
}

// parameter returns the value of a parameter like filename=… of a header field.
func parameter(value, name string) string {
	for part := range strings.SplitSeq(value, ";") {
		k, v, found := strings.Cut(part, "=")
		k = strings.ToLower(strings.TrimSpace(k))
		if !found || k != name && k != name+"*" {
			continue
		}
		v = strings.Trim(strings.TrimSpace(v), `"'`)
		if strings.HasSuffix(k, "*") { // RFC 8187: charset'language'text
			if i := strings.LastIndexByte(v, '\''); i >= 0 {
				v = v[i+1:]
			}
		}
		return v
	}
	return ""
}

// fileName is the value of a parameter that names a file.
func fileName(value, param string) string { return unescapeURI(parameter(value, param)) }

// unescapeURI undoes %XX and %uXXXX; what is no escape stays, a doubled % loses
// one (Zeek's unescape_URI).
func unescapeURI(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		rest := s[i+1:]
		switch {
		case s[i] != '%' || len(rest) < 2:
			b.WriteByte(s[i])
		case rest[0] == '%':
		case unhex(rest[0]) < 16 && unhex(rest[1]) < 16:
			b.WriteByte(unhex(rest[0])<<4 | unhex(rest[1]))
			i += 2
		case len(rest) >= 5 && rest[0] == 'u' && unhex(rest[1])|unhex(rest[2])|unhex(rest[3])|unhex(rest[4]) < 16:
			if rest[1:3] != "00" {
				b.WriteByte(unhex(rest[1])<<4 | unhex(rest[2]))
			}
			b.WriteByte(unhex(rest[3])<<4 | unhex(rest[4]))
			i += 5
		default:
			b.WriteString(s[i : i+2])
			i++
		}
	}
	return b.String()
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return (c | 0x20) - 'a' + 10
	}
	return 255
}
