package network

import (
	"bytes"
	"strings"
)

// Bounds of a body in parts (RFC 2046 §5.1).
const (
	maxPartLine  = 4096 // bytes of a line looked at for a boundary or as a header field
	maxPartDepth = 100  // parts that have parts themselves (Zeek's MIME::max_depth)
)

// multipart cuts a body into its parts, each of which is a file.
type multipart struct {
	s          *httpSide
	boundaries []string // of the enclosing bodies, outermost first, with their leading "--"
	heading    bool     // within the header of a part
	content    bool     // within what a part carries
	line       []byte
	flushed    bool // the beginning of the line in hand is written already
	held       bool // a line end that belongs to the content only if another line follows
	typ        string
	count      lineCount
	over       bool // the closing boundary was met
}

func newMultipart(s *httpSide, boundary string) *multipart {
	return &multipart{s: s, boundaries: []string{"--" + boundary}}
}

// feed takes bytes of the body.
func (m *multipart) feed(b []byte) {
	for len(b) > 0 && !m.over {
		i := bytes.IndexByte(b, '\n')
		piece := b
		if i >= 0 {
			piece = b[:i+1]
		}
		b = b[len(piece):]
		m.count.add(piece, m.content)
		m.line = append(m.line, piece...)
		if end := m.lineEnd(); end >= 0 {
			line := m.line[:end]
			m.line = m.line[:0]
			m.take(line)
			m.flushed = false
		} else if len(m.line) > maxPartLine {
			m.spill()
		}
	}
}

// lineEnd is where the content of the line in hand ends, -1 when its end has not
// come. In what a part carries only CR and LF together end a line.
func (m *multipart) lineEnd() int {
	n := len(m.line)
	switch {
	case n == 0 || m.line[n-1] != '\n':
		return -1
	case n >= 2 && m.line[n-2] == '\r':
		return n - 2
	case m.content:
		return -1
	}
	return n - 1
}

// spill writes the beginning of a line too long to be a boundary. Its last byte
// may be half a line end.
func (m *multipart) spill() {
	n := len(m.line) - 1
	if m.content {
		m.emit(m.line[:n])
		m.flushed = true
	}
	m.line = append(m.line[:0], m.line[n:]...)
}

func (m *multipart) take(line []byte) {
	switch {
	case !m.flushed && m.boundary(line):
	case m.content:
		m.emit(line)
		m.held = true
	case m.heading && len(line) == 0:
		m.begin()
	case m.heading:
		m.field(string(line))
	}
}

// boundary acts on a line that separates parts, of the outermost body it is of.
func (m *multipart) boundary(line []byte) bool {
	for i, b := range m.boundaries {
		rest, found := strings.CutPrefix(string(line[:min(len(line), len(b)+2)]), b)
		if !found {
			continue
		}
		m.s.closeFile(true)
		m.heading, m.content, m.held, m.typ, m.s.filename = true, false, false, "", ""
		m.boundaries = m.boundaries[:i+1]
		if rest == "--" {
			m.heading = false
			m.boundaries = m.boundaries[:i]
			m.over = i == 0
		}
		return true
	}
	return false
}

func (m *multipart) field(line string) {
	name, value, _ := strings.Cut(line, ":")
	switch strings.ToUpper(strings.TrimSpace(name)) {
	case "CONTENT-TYPE":
		m.typ = value
		if f := fileName(value, "name"); f != "" {
			m.s.filename = f
		}
	case "CONTENT-DISPOSITION":
		if f := fileName(value, "filename"); f != "" {
			m.s.filename = f
		}
	}
}

// begin is the end of a part's header: it carries parts again, or a file.
func (m *multipart) begin() {
	m.heading = false
	if b := boundaryOf(m.typ); b != "" {
		if len(m.boundaries) < maxPartDepth {
			m.boundaries = append(m.boundaries, "--"+b)
		}
		return
	}
	m.content = true
}

func (m *multipart) emit(b []byte) {
	if m.held {
		m.held = false
		m.s.write([]byte("\r\n"))
	}
	m.s.write(b)
}

// finish ends the body, which may have been cut short.
func (m *multipart) finish(complete bool) (bodyLen uint64) {
	if len(m.line) > 0 && !m.over {
		m.take(m.line)
	}
	m.s.closeFile(complete && m.over)
	return m.count.total()
}

// boundaryOf is the boundary parameter of a multipart type, "" of any other.
func boundaryOf(typ string) string {
	typ = strings.TrimSpace(typ)
	if len(typ) < 10 || !strings.EqualFold(typ[:10], "multipart/") {
		return ""
	}
	return parameter(typ, "boundary")
}

// lineCount is the length of a body that is taken in lines, as Zeek counts it:
// two bytes for every line end, be it CR, LF or both, and for the missing one of
// the last line.
type lineCount struct {
	n       uint64
	cr      bool // the last byte was a CR
	partial bool // the last line has not ended
}

// add counts b. With whole, only CR and LF together end a line.
func (l *lineCount) add(b []byte, whole bool) {
	if len(b) == 0 {
		return
	}
	l.n += uint64(len(b))
	last := b[len(b)-1]
	l.partial = last != '\n' && (last != '\r' || whole)
	if !whole {
		alone := bytes.Count(b, []byte("\r")) + bytes.Count(b, []byte("\n")) - 2*bytes.Count(b, []byte("\r\n"))
		if l.cr && b[0] == '\n' {
			alone -= 2
		}
		l.n = uint64(int64(l.n) + int64(alone))
	}
	l.cr = last == '\r' && !whole
}

func (l *lineCount) total() uint64 {
	if l.partial {
		return l.n + 2
	}
	return l.n
}
