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

	done bool // the response is over
}

// maxPendingHTTP bounds pipelined requests without a response.
const maxPendingHTTP = 100

// httpParser follows both directions of an HTTP connection.
type httpParser struct {
	c       *conn
	side    [2]httpSide
	pending []*HTTP // requests whose response is not over, oldest first
	depth   uint64
	tunnel  bool
	upgrade string
}

// httpSide is one direction's stream and the message in it.
type httpSide struct {
	p        *httpParser
	isOrig   bool
	stream   http.Stream
	cur      *HTTP
	file     *fileSink
	bodyLen  uint64
	encoding string
	packed   []byte // encoded body, decoded when whole
	packing  bool
	typ      string
	filename string
	failed   bool
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
	for _, h := range p.pending {
		c.addHTTP(h)
	}
	p.pending = nil
}

func (c *conn) addHTTP(h *HTTP) {
	c.app.http = append(c.app.http, h)
	c.shard.content.http = append(c.shard.content.http, h)
}

func (p *httpParser) begin() *HTTP {
	p.depth++
	h := &HTTP{Header: p.c.header(), TransDepth: p.depth}
	if len(p.pending) >= maxPendingHTTP {
		p.c.addHTTP(p.pending[0])
		p.pending = p.pending[1:]
	}
	p.pending = append(p.pending, h)
	return h
}

// Request, Status, Field … implement http.Handler for one direction.

// Request begins a record.
func (s *httpSide) Request(method, uri, version string) {
	s.p.c.addService("http")
	s.cur = s.p.begin()
	s.cur.Method, s.cur.URI = method, unescape(uri)
	s.p.side[1].stream.Bare = version == ""
	s.reset()
}

// Status takes the oldest request that has no final response yet.
func (s *httpSide) Status(version string, code int, reason string) {
	p := s.p
	i := slices.IndexFunc(p.pending, func(h *HTTP) bool { return !h.done })
	if i < 0 {
		s.cur = p.begin()
	} else {
		s.cur = p.pending[i]
		p.c.addService("http")
	}
	n := uint64(code)
	if reason == "" {
		reason = "<empty>"
	}
	s.cur.StatusCode, s.cur.StatusMsg, s.cur.Version = &n, reason, version
	if code/100 == 1 {
		s.cur.InfoCode, s.cur.InfoMsg = &n, reason
	}
	s.reset()
}

func (s *httpSide) reset() {
	s.bodyLen, s.encoding, s.typ, s.filename = 0, "", "", ""
	s.packed, s.packing = nil, false
}

var proxyHeaders = []string{
	"FORWARDED", "X-FORWARDED-FOR", "X-FORWARDED-FROM", "CLIENT-IP", "VIA", "XROXY-CONNECTION", "PROXY-CONNECTION",
}

// Field notes the header fields Zeek logs.
func (s *httpSide) Field(name, value string) {
	h := s.cur
	if h == nil {
		return
	}
	switch name {
	case "CONTENT-ENCODING":
		s.encoding = strings.ToLower(value)
	case "CONTENT-TYPE":
		s.typ, _, _ = strings.Cut(strings.ToLower(value), ";")
		if f := parameter(value, "name"); f != "" {
			s.filename = f
		}
	case "CONTENT-DISPOSITION":
		if f := parameter(value, "filename"); f != "" {
			s.filename = f
		}
	case "UPGRADE":
		if !s.isOrig {
			s.p.upgrade = strings.ToLower(value)
		}
	}
	if !s.isOrig {
		return
	}
	switch {
	case name == "HOST":
		h.Host = value
	case name == "REFERER":
		h.Referrer = value
	case name == "ORIGIN":
		h.Origin = value
	case name == "USER-AGENT":
		h.UserAgent = value
	case name == "AUTHORIZATION" || name == "PROXY-AUTHORIZATION":
		h.Username = basicUser(value)
	case slices.Contains(proxyHeaders, name):
		h.Proxied = append(h.Proxied, name+" -> "+value)
	}
}

// HeaderDone says when no body follows, or no HTTP.
func (s *httpSide) HeaderDone() (bodiless, last bool) {
	if s.isOrig || s.cur == nil || s.cur.StatusCode == nil {
		return false, false
	}
	switch code := *s.cur.StatusCode; {
	case code == 101 && s.p.upgrade != "":
		s.p.tunnel = true
		if s.p.upgrade == "websocket" {
			s.p.c.addService("websocket")
		}
	case code == 200 && strings.EqualFold(s.cur.Method, "CONNECT"):
		s.p.tunnel = true
	}
	return strings.EqualFold(s.cur.Method, "HEAD"), s.p.tunnel
}

// Done ends a message; the response's end completes the record.
func (s *httpSide) Done(complete bool) {
	h := s.cur
	if s.packing {
		s.unpack(complete)
	}
	if s.file != nil {
		f := s.file.File
		s.file.close(complete)
		s.file = nil
		if h != nil && f.MIMEType != "" {
			if s.isOrig {
				h.OrigMIMETypes = append(h.OrigMIMETypes, f.MIMEType)
			} else {
				h.RespMIMETypes = append(h.RespMIMETypes, f.MIMEType)
			}
		}
	}
	if h == nil {
		return
	}
	h.LastRecord = max(h.LastRecord, s.p.c.lastRec)
	if s.isOrig {
		h.RequestBodyLen = s.bodyLen
		return
	}
	h.ResponseBodyLen = s.bodyLen
	if h.StatusCode != nil && *h.StatusCode/100 == 1 && !s.p.tunnel {
		return // the real response is still to come
	}
	h.done = true
	if i := slices.Index(s.p.pending, h); i >= 0 {
		s.p.pending = slices.Delete(s.p.pending, i, i+1)
		s.p.c.addHTTP(h)
	}
	s.cur = nil
}

// basicUser returns the user of Basic credentials (RFC 7617).
func basicUser(v string) string {
	if len(v) < 6 || !strings.EqualFold(v[:6], "basic ") {
		return ""
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v[6:]))
	if user, _, found := strings.Cut(string(b), ":"); err == nil && found {
		return user
	}
	return "<problem-decoding> (" + v + ")"
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
				v = unescape(v[i+1:])
			}
		}
		return v
	}
	return ""
}

// unescape undoes %XX; what is not an escape stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 16 && lo < 16 {
				b.WriteByte(hi<<4 | lo)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
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
