package network

import (
	"bytes"
	"regexp"
)

// magics are first bytes that tell a type, under the names libmagic and Zeek
// use. The list is for a forensic eye: what is executable, what is an archive.
var magics = []struct{ prefix, mime string }{
	{"\x7fELF", "application/x-executable"},
	{"MZ", "application/x-dosexec"},
	{"\x1f\x8b", "application/x-gzip"},
	{"PK\x03\x04", "application/zip"},
	{"BZh", "application/x-bzip2"},
	{"\xfd7zXZ\x00", "application/x-xz"},
	{"\x28\xb5\x2f\xfd", "application/zstd"},
	{"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"},
	{"Rar!\x1a\x07", "application/x-rar"},
	{"\xed\xab\xee\xdb", "application/x-rpm"},
	{"!<arch>\ndebian", "application/vnd.debian.binary-package"},
	{"\xca\xfe\xba\xbe", "application/java-archive"},
	{"%PDF-", "application/pdf"},
	{"\x89PNG\r\n\x1a\n", "image/png"},
	{"GIF8", "image/gif"},
	{"\xff\xd8\xff", "image/jpeg"},
	{"\x00\x00\x01\x00", "image/x-icon"},
	{"CWS", "application/x-shockwave-flash"},
	{"FWS", "application/x-shockwave-flash"},
	{"wOFF", "application/font-woff"},
	{"0\x82", "application/x-x509-cert"},
}

// texts are what tells one kind of text from another, the most telling first
// (Zeek's general.sig and programming.sig, by their strengths).
var texts = []struct {
	pattern *regexp.Regexp
	mime    string
}{
	{regexp.MustCompile(`(?s)^#![^\n]{1,15}bin/(env\s+)?(ba|tc|c|z|fa|ae|k)?sh`), "text/x-shellscript"},
	{regexp.MustCompile(mark + prolog + `<(!doctype +html|html|meta +http-equiv)`), "text/html"},
	{regexp.MustCompile(mark + prolog + `<(rss[^>]*xmlns:atom|feed[^>]*xmlns=["']?http://www.w3.org/2005/Atom)`), "text/atom"},
	{regexp.MustCompile(mark + prolog + `<rss`), "text/rss"},
	{regexp.MustCompile(`(?s)^#![^\n]{1,15}bin/(env\s+)?perl`), "text/x-perl"},
	{regexp.MustCompile(`(?s)^#![^\n]{1,15}bin/(env\s+)?ruby`), "text/x-ruby"},
	{regexp.MustCompile(`(?s)^#![^\n]{1,15}bin/(env\s+)?python`), "text/x-python"},
	{regexp.MustCompile(`(?s)^#![^\n]{1,15}bin/(env\s+)?php`), "text/x-php"},
	{regexp.MustCompile(`(?i)^[\r\n\t ]*<script[\t ]+(type|language)=['"]?(text/)?javascript`), "application/javascript"},
	{regexp.MustCompile(`^[\r\n\t ]*(for \(;;\);|document\.write(ln)?[\t ]?\(|<script>[\r\n\t ]*(var|function) )|^\(function\(\)[\t \n]*\{`), "application/javascript"},
	{regexp.MustCompile(mark + prolog + `<soap(-env)?:envelope`), "application/soap+xml"},
	{regexp.MustCompile(mark + prolog + `<methodresponse>`), "application/xml-rpc"},
	{regexp.MustCompile(`(?s)^.*<\?php`), "text/x-php"},
	{regexp.MustCompile(mark + prolog + `<(head|title|body)`), "text/html"},
	{regexp.MustCompile(`^\x{feff}?[\x00\r\n\t ]*\[[^\r\n]+\][\t \x00]*[\r\n]`), "text/ini"},
	{regexp.MustCompile(mark + `([\r\n\t ]*(<!--.*-->)?[\r\n\t ]*)*<\?xml +`), "application/xml"},
	{regexp.MustCompile(`^\x{feff}?[\r\n\t ]*\{[\r\n\t ]*("[^"]+"|[a-zA-Z][a-zA-Z0-9\\_]*)[\r\n\t ]*:[\r\n\t ]*("|\[|\{|[0-9]|true|false)`), "text/json"},
	{regexp.MustCompile(`^\x{feff}?[\r\n\t ]*\[[\r\n\t ]*((("[^"]+"|[0-9]+(\.[0-9]+)?|true|false)[\r\n\t ]*,)|\{|\[)`), "text/json"},
	{regexp.MustCompile(`^\x{feff}?[\r\n\t ]*(\[\]|\{\})[\r\n\t ]*$`), "text/json"},
}

// What markup may begin with: a byte order mark, comments, an XML declaration.
const (
	mark   = `(?is)^\x{feff}?`
	prolog = `([\r\n\t ]*(<!--.*-->)?[\r\n\t ]*)*(<\?xml .*\?>)?([\r\n\t ]*(<!--.*-->)?[\r\n\t ]*)*`
)

// plainBytes is how many printable characters a text begins with at least.
const plainBytes = 10

// sniff guesses the type of a file by its first bytes; "" when they do not say.
func sniff(b []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.prefix)) {
			return m.mime
		}
	}
	if !mayBeText(b) {
		return ""
	}
	for _, t := range texts {
		if t.pattern.Match(b) {
			return t.mime
		}
	}
	if b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")); len(b) >= plainBytes && mayBeText(b) {
		return "text/plain"
	}
	return ""
}

// mayBeText reports whether a file begins with printable ASCII and space, after a
// byte order mark perhaps.
func mayBeText(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	for _, c := range b[:min(len(b), plainBytes)] {
		if (c < ' ' || c > '~') && (c < '\t' || c > '\r') {
			return false
		}
	}
	return len(b) > 0
}
