package tls

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

//go:embed names.tsv
var namesTable string

// names is read from the table when the first name is asked for.
var names = sync.OnceValue(func() map[byte]map[uint16]string {
	m := map[byte]map[uint16]string{'c': {}, 'g': {}, 'a': {}}
	for line := range strings.Lines(namesTable) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 || len(f[0]) != 1 || m[f[0][0]] == nil {
			continue
		}
		if n, err := strconv.ParseUint(f[1], 16, 16); err == nil {
			m[f[0][0]][uint16(n)] = f[2]
		}
	}
	return m
})

// CipherName names a cipher suite.
func CipherName(n uint16) string { return name('c', n) }

// GroupName names a named group (curve).
func GroupName(n uint16) string { return name('g', n) }

// AlertName names an alert description.
func AlertName(n uint8) string { return name('a', uint16(n)) }

func name(kind byte, n uint16) string {
	if s, ok := names()[kind][n]; ok {
		return s
	}
	return "unknown-" + strconv.Itoa(int(n))
}

// Protocol versions.
const (
	SSLv3  = 0x0300
	TLSv10 = 0x0301
	TLSv11 = 0x0302
	TLSv12 = 0x0303
	TLSv13 = 0x0304

	// DTLS counts downwards (RFC 6347 §4.1, RFC 9147 §5.3).
	DTLSv10 = 0xfeff
	DTLSv12 = 0xfefd
	DTLSv13 = 0xfefc
)

// Is13 reports whether v is version 1.3 of TLS or DTLS, or one of its drafts, which
// encrypt what came in the clear before.
func Is13(v uint16) bool { return v == TLSv13 || v == DTLSv13 || v>>8 == 0x7f || v>>8 == 0x7e }

// VersionName names a protocol version, drafts of TLS 1.3 with their number.
func VersionName(v uint16) string {
	switch v {
	case SSLv3:
		return "SSLv3"
	case TLSv10:
		return "TLSv10"
	case TLSv11:
		return "TLSv11"
	case TLSv12:
		return "TLSv12"
	case TLSv13:
		return "TLSv13"
	case DTLSv10:
		return "DTLSv10"
	case DTLSv12:
		return "DTLSv12"
	case DTLSv13:
		return "DTLSv13"
	}
	if v>>8 == 0x7f {
		return fmt.Sprintf("TLSv13-draft%d", v&0xff)
	}
	return "unknown-" + strconv.Itoa(int(v))
}
