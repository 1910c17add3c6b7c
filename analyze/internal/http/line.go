package http

import (
	"bytes"
	"strconv"
	"strings"
)

// RequestLine splits "METHOD target HTTP/x.y" as liberally as servers do: any
// token is a method, the target may hold spaces or be missing when there is a
// version. A line without a version is HTTP/0.9, if it has a method of three
// characters at least and a target; version is then "0.9".
func RequestLine(line []byte) (method, target, version string, ok bool) {
	end := 0
	for end < len(line) && tokenChar(line[end]) {
		end++
	}
	rest := bytes.TrimLeft(line[end:], " \t")
	if end == 0 || len(rest) == len(line)-end {
		return "", "", "", false
	}
	at := versionAt(rest)
	switch {
	case at >= 0:
		version = versionNumber(rest[at+len("HTTP/"):])
		rest = bytes.TrimRight(rest[:at], " \t")
	case end < 3 || len(rest) == 0:
		return "", "", "", false
	default:
		version = "0.9"
		rest = bytes.TrimRight(rest, " \t")
	}
	return string(line[:end]), string(rest), version, true
}

// versionAt finds where "HTTP/" begins a word, -1 if nowhere.
func versionAt(b []byte) int {
	for i := 0; i+5 <= len(b); i++ {
		if (i == 0 || b[i-1] == ' ' || b[i-1] == '\t') && bytes.EqualFold(b[i:i+5], []byte("HTTP/")) {
			return i
		}
	}
	return -1
}

// versionNumber reads "x.y"; what is none of that is 0.0.
func versionNumber(b []byte) string {
	if len(b) >= 3 && digit(b[0]) && b[1] == '.' && digit(b[2]) {
		return string(b[:3])
	}
	return "0.0"
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// tokenChar reports whether c may be part of a token (RFC 2616 §2.2).
func tokenChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte("()<>@,;:\\\"/[]?={}", c) < 0
}

// StatusLine splits "HTTP/x.y code reason".
func StatusLine(line []byte) (version string, code int, reason string, ok bool) {
	if len(line) < 5 || !bytes.EqualFold(line[:5], []byte("HTTP/")) {
		return "", 0, "", false
	}
	version = versionNumber(line[5:])
	i := bytes.IndexAny(line, " \t")
	if i < 0 {
		return "", 0, "", false
	}
	rest := bytes.TrimLeft(line[i:], " \t")
	if len(rest) < 3 {
		return "", 0, "", false
	}
	if digit(rest[0]) && digit(rest[1]) && digit(rest[2]) {
		code = int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	}
	if i = bytes.IndexAny(rest[3:], " \t"); i < 0 {
		return version, code, MissingReason, true
	}
	return version, code, string(bytes.TrimLeft(rest[3+i:], " \t")), true
}

// firstToken is the first word of a field's value.
func firstToken(v string) string {
	if i := strings.IndexAny(v, " \t,;"); i >= 0 {
		return v[:i]
	}
	return v
}

// number reads the digits a value begins with; 0 when there are none, or too many.
func number(v string) int64 {
	n := 0
	for n < len(v) && digit(v[n]) {
		n++
	}
	l, err := strconv.ParseInt(v[:n], 10, 64)
	if err != nil {
		return 0
	}
	return l
}

// contentRange reads "bytes first-last/total" (RFC 9110 §14.4): how many bytes the
// range covers, -1 when the value does not say, and the size of the whole, -1 when
// that is not known.
func contentRange(v string) (length, total int64) {
	unit, rest, _ := strings.Cut(v, " ")
	span, whole, found := strings.Cut(strings.ReplaceAll(rest, " ", ""), "/")
	from, to, dash := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !found || !dash {
		return -1, -1
	}
	first, err1 := strconv.ParseInt(from, 10, 62)
	last, err2 := strconv.ParseInt(to, 10, 62)
	if err1 != nil || err2 != nil || first < 0 || last < first {
		return -1, -1
	}
	total, err := strconv.ParseInt(whole, 10, 62)
	if err != nil {
		total = -1
	}
	return last - first + 1, total
}
