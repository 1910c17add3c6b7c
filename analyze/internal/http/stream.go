// Package http parses one direction of an HTTP/1 connection (RFC 9112) as it
// arrives, in pieces of any size. What it holds is bounded whatever is sent.
package http

import (
	"bytes"
	"strconv"
	"strings"
)

// Bounds of a message head.
const (
	MaxLine   = 16 << 10 // bytes of one line; the rest of a longer one is dropped
	MaxFields = 512      // header fields of one message; further ones are skipped
)

// A Handler is told what a stream consists of. Strings are only made for what
// is passed to it.
type Handler interface {
	// Expected reports whether another request may follow those there were; where
	// none may, lines that are no request are ignored.
	Expected() bool
	// Request begins a message; version is "0.9" when the line states none.
	Request(method, uri, version string)
	// Status begins a response. code is 0 when it is no number; reason is
	// MissingReason when the line ends before it.
	Status(version string, code int, reason string)
	// Field is a header field, its name in upper case.
	Field(name, value string)
	// HeaderDone ends a head. bodiless says that the message has no body
	// whatever its fields claim (a response to HEAD); last says that what
	// follows is not HTTP any more (CONNECT, Upgrade).
	HeaderDone() (bodiless, last bool)
	// Body is content with the transfer coding taken off.
	Body(b []byte)
	// BodyGap says that n bytes of the body are missing.
	BodyGap(n uint64)
	// Done ends a message; complete is false when the stream ended first.
	Done(complete bool)
}

// MissingReason stands for a reason phrase that is not there (as Zeek writes it).
const MissingReason = "<empty>"

type state uint8

const (
	startLine state = iota
	fields
	body      // a known number of bytes
	bodyToEnd // until the stream ends
	chunkSize
	chunkData
	chunkEnd
	trailer
	after // no longer HTTP
)

// A Stream is one direction. Responses sets which.
type Stream struct {
	Responses bool
	Bare      bool // the next response is an HTTP/0.9 one: a body and nothing else
	state     state
	line      []byte
	remaining uint64 // bytes of body or chunk
	length    int64  // Content-Length, -1 unset
	chunked   bool
	closing   bool // Connection: close
	part      bool // of something larger (206)
	whole     int64
	version   string
	code      int
	count     int
	open      bool // a message was begun
}

// Feed takes the next bytes. It returns how many it used: fewer than given when
// what follows is not HTTP (see Handler.HeaderDone). ok is false when the bytes
// are not HTTP at all.
func (s *Stream) Feed(b []byte, h Handler) (used int, ok bool) {
	total := len(b)
	for len(b) > 0 {
		switch s.state {
		case after:
			return total - len(b), true
		case body, chunkData:
			n := int(min(uint64(len(b)), s.remaining))
			h.Body(b[:n])
			s.remaining -= uint64(n)
			b = b[n:]
			s.bodyMoved(h)
		case bodyToEnd:
			h.Body(b)
			b = nil
		case startLine:
			if s.Bare && len(s.line) == 0 {
				s.Bare = false
				h.Status("0.9", 0, MissingReason)
				_, _ = h.HeaderDone()
				s.open, s.closing, s.length, s.state = true, true, -1, bodyToEnd
				continue
			}
			fallthrough
		default:
			i := bytes.IndexByte(b, '\n')
			piece := b
			if i >= 0 {
				piece = b[:i]
			}
			line := piece
			if len(s.line) > 0 || i < 0 {
				s.line = append(s.line, piece[:min(len(piece), MaxLine-len(s.line))]...)
				line = s.line
			}
			if i < 0 {
				return total, s.plausible()
			}
			b = b[i+1:]
			good := s.take(bytes.TrimSuffix(line, []byte("\r")), h)
			s.line = s.line[:0]
			if !good {
				return total - len(b), false
			}
		}
	}
	return total, true
}

func (s *Stream) bodyMoved(h Handler) {
	if s.remaining > 0 {
		return
	}
	if s.state == body {
		s.finish(h, true)
	} else {
		s.state = chunkEnd
	}
}

// plausible gives up on a start line that is too long to be one.
func (s *Stream) plausible() bool { return s.state != startLine || len(s.line) < MaxLine }

// take handles one whole line.
func (s *Stream) take(line []byte, h Handler) bool {
	switch s.state {
	case startLine:
		return s.start(line, h)
	case fields:
		if len(line) == 0 {
			s.head(h)
		} else {
			s.field(line, h)
		}
	case chunkSize:
		text, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 63)
		if err != nil {
			s.finish(h, false)
			return false
		}
		s.remaining, s.state = n, chunkData
		if n == 0 {
			s.state = trailer
		}
	case chunkEnd:
		s.state = chunkSize
	case trailer:
		if len(line) == 0 {
			s.finish(h, true)
		}
	}
	return true
}

func (s *Stream) start(line []byte, h Handler) bool {
	if len(line) == 0 {
		return true // empty lines before a message are ignored, RFC 9112 §2.2
	}
	if s.Responses {
		v, code, reason, ok := StatusLine(line)
		if !ok {
			return false
		}
		s.begin(v, code)
		h.Status(v, code, reason)
	} else {
		m, uri, v, ok := RequestLine(line)
		if !ok {
			return !h.Expected() // rubbish after the last request
		}
		s.begin(v, 0)
		h.Request(m, uri, v)
	}
	s.open, s.state = true, fields
	return true
}

func (s *Stream) begin(version string, code int) {
	s.length, s.chunked, s.closing, s.count, s.part = -1, false, false, 0, false
	s.version, s.code = version, code
}

func (s *Stream) field(line []byte, h Handler) {
	if s.count++; s.count > MaxFields {
		return
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		return
	}
	n := strings.ToUpper(string(bytes.TrimSpace(name)))
	v := string(bytes.TrimSpace(value))
	switch n {
	case "CONTENT-LENGTH":
		s.length = number(firstToken(v))
	case "CONTENT-RANGE":
		if s.code != 206 {
			break
		}
		if n, total := contentRange(v); n >= 0 {
			s.length, s.whole, s.part = max(s.length, n), total, n != total
		}
	case "TRANSFER-ENCODING":
		// Only HTTP/1.1 has it (RFC 9112 §6.1).
		s.chunked = s.chunked || s.version == "1.1" && strings.EqualFold(firstToken(v), "chunked")
	case "CONNECTION":
		s.closing = s.closing || s.Responses && strings.EqualFold(firstToken(v), "close")
	}
	h.Field(n, v)
}

// head decides what follows the header fields (RFC 9112 §6.3).
func (s *Stream) head(h Handler) {
	bodiless, last := h.HeaderDone()
	switch {
	case last:
		s.open, s.state = false, after
		h.Done(true)
	case bodiless || s.Responses && (s.code/100 == 1 || s.code == 204 || s.code == 304):
		s.finish(h, true)
	case s.chunked:
		s.state = chunkSize
	case s.length > 0:
		s.remaining, s.state = uint64(s.length), body
	case s.length < 0 && s.Responses:
		s.state = bodyToEnd
	default:
		s.finish(h, true)
	}
}

func (s *Stream) finish(h Handler, complete bool) {
	s.state = startLine
	if s.open {
		s.open = false
		h.Done(complete)
	}
}

// Gap skips n missing bytes. It returns false when the position in the protocol
// is lost with them.
func (s *Stream) Gap(n uint64, h Handler) bool {
	switch s.state {
	case body, chunkData:
		if n > s.remaining {
			break
		}
		h.BodyGap(n)
		s.remaining -= n
		s.bodyMoved(h)
		return true
	case bodyToEnd:
		h.BodyGap(n)
		return true
	case after:
		return true
	}
	s.finish(h, false)
	return false
}

// End says that no more bytes come.
func (s *Stream) End(h Handler) { s.finish(h, s.state == bodyToEnd) }

// Part reports whether the message carries only a range of what was asked for, and
// the size of the whole, nil when that is not said.
func (s *Stream) Part() (whole *uint64, part bool) {
	if s.part && s.whole >= 0 {
		n := uint64(s.whole)
		return &n, true
	}
	return nil, s.part
}

// InLines reports whether the body has no stated size, and so is taken line by line
// by readers that look for its end in it (Zeek): where each line counts two bytes
// for its end.
func (s *Stream) InLines() bool { return s.state == bodyToEnd && !s.closing }

// Length is the size the message announces for its body, -1 when it does not.
func (s *Stream) Length() int64 {
	if s.chunked {
		return -1
	}
	return s.length
}
