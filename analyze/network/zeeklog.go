package network

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

// A zeekLog writes one log in Zeek's ASCII format: a header that names fields
// and types, then one line a record with tabs between. There is no #open or
// #close time: the same tape gives the same bytes.
type zeekLog struct {
	w    *bufio.Writer
	line []byte
}

// newZeekLog writes the header. columns are "name:type".
func newZeekLog(w io.Writer, path string, columns []string) *zeekLog {
	l := &zeekLog{w: bufio.NewWriter(w)}
	names, types := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i], types[i], _ = strings.Cut(c, ":")
	}
	fmt.Fprintf(l.w, "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\t%s\n", path)
	fmt.Fprintf(l.w, "#fields\t%s\n#types\t%s\n", strings.Join(names, "\t"), strings.Join(types, "\t"))
	return l
}

func (l *zeekLog) sep() {
	if len(l.line) > 0 {
		l.line = append(l.line, '\t')
	}
}

func (l *zeekLog) unset() {
	l.sep()
	l.line = append(l.line, '-')
}

func (l *zeekLog) time(s Seconds) {
	l.sep()
	l.line = s.append(l.line)
}

func (l *zeekLog) interval(s *Seconds) {
	if s == nil {
		l.unset()
		return
	}
	l.time(*s)
}

func (l *zeekLog) count(n uint64) {
	l.sep()
	l.line = strconv.AppendUint(l.line, n, 10)
}

func (l *zeekLog) optCount(n *uint64) {
	if n == nil {
		l.unset()
		return
	}
	l.count(*n)
}

func (l *zeekLog) addr(a netip.Addr) {
	l.sep()
	l.line = a.AppendTo(l.line)
}

func (l *zeekLog) bool(b bool) {
	l.sep()
	if b {
		l.line = append(l.line, 'T')
	} else {
		l.line = append(l.line, 'F')
	}
}

// str writes a string field; empty means unset.
func (l *zeekLog) str(s string) {
	if s == "" {
		l.unset()
		return
	}
	l.sep()
	start := len(l.line)
	l.line = appendEscaped(l.line, s, false)
	if string(l.line[start:]) == "-" {
		l.line = append(l.line[:start], `\x2d`...)
	}
}

// set writes a set or vector. nil is unset, no elements is "(empty)".
func (l *zeekLog) set(v []string) {
	switch {
	case v == nil:
		l.unset()
		return
	case len(v) == 0:
		l.sep()
		l.line = append(l.line, "(empty)"...)
		return
	}
	l.sep()
	for i, s := range v {
		if i > 0 {
			l.line = append(l.line, ',')
		}
		switch s {
		case "":
			l.line = append(l.line, "(empty)"...)
		case "-":
			l.line = append(l.line, `\x2d`...)
		default:
			l.line = appendEscaped(l.line, s, true)
		}
	}
}

const hexDigits = "0123456789abcdef"

// appendEscaped writes control bytes, and bytes that are not UTF-8, as \xNN, and
// a backslash doubled, as Zeek's ASCII writer does; a comma only within sets.
func appendEscaped(b []byte, s string, inSet bool) []byte {
	for i, r := range s {
		if r == '\uFFFD' && s[i] != "\uFFFD"[0] {
			c := s[i]
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			continue
		}
		switch {
		case r == '\\':
			b = append(b, '\\', '\\')
		case r < 0x20 || r == 0x7f || r == ',' && inSet:
			b = append(b, '\\', 'x', hexDigits[r>>4], hexDigits[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return b
}

func (l *zeekLog) end() {
	l.line = append(l.line, '\n')
	_, _ = l.w.Write(l.line) // errors are sticky and returned by Flush
	l.line = l.line[:0]
}

var idColumns = []string{
	"ts:time", "uid:string", "id.orig_h:addr", "id.orig_p:port", "id.resp_h:addr", "id.resp_p:port",
}

func (l *zeekLog) id(ts Seconds, uid string, c *ID) {
	l.time(ts)
	l.str(uid)
	l.addr(c.OrigH)
	l.count(uint64(c.OrigP))
	l.addr(c.RespH)
	l.count(uint64(c.RespP))
}

// WriteConnLog writes conn.log, with community_id as its last field.
func WriteConnLog(w io.Writer, conns iter.Seq[*Conn]) error {
	l := newZeekLog(w, "conn", append(idColumns[:6:6],
		"proto:enum", "service:string", "duration:interval", "orig_bytes:count", "resp_bytes:count",
		"conn_state:string", "local_orig:bool", "local_resp:bool", "missed_bytes:count", "history:string",
		"orig_pkts:count", "orig_ip_bytes:count", "resp_pkts:count", "resp_ip_bytes:count",
		"tunnel_parents:set[string]", "ip_proto:count", "community_id:string"))
	for c := range conns {
		l.id(c.TS, c.UID, &c.ID)
		l.str(c.Proto)
		l.str(c.Service)
		l.interval(c.Duration)
		l.optCount(c.OrigBytes)
		l.optCount(c.RespBytes)
		l.str(c.ConnState)
		l.bool(c.LocalOrig)
		l.bool(c.LocalResp)
		l.count(c.MissedBytes)
		l.str(c.History)
		l.count(c.OrigPkts)
		l.count(c.OrigIPBytes)
		l.count(c.RespPkts)
		l.count(c.RespIPBytes)
		l.set(c.TunnelParents)
		l.count(uint64(c.IPProto))
		l.str(c.CommunityID)
		l.end()
	}
	return l.w.Flush()
}

// strSet writes a string field that is set; empty is "(empty)".
func (l *zeekLog) strSet(s *string) {
	switch {
	case s == nil:
		l.unset()
	case *s == "":
		l.sep()
		l.line = append(l.line, "(empty)"...)
	default:
		l.str(*s)
	}
}

func (l *zeekLog) optNumber(n *uint16) {
	if n == nil {
		l.unset()
		return
	}
	l.count(uint64(*n))
}

func (l *zeekLog) intervals(v []Seconds) {
	if v == nil {
		l.unset()
		return
	}
	l.sep()
	for i, s := range v {
		if i > 0 {
			l.line = append(l.line, ',')
		}
		l.line = s.append(l.line)
	}
}
