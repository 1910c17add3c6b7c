package tls

import (
	"crypto/md5" //nolint:gosec // JA3 is defined with MD5
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// grease reports a reserved value clients send to keep servers tolerant (RFC 8701).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func withoutGrease(v []uint16) []uint16 {
	return slices.DeleteFunc(slices.Clone(v), grease)
}

func decimals(v []uint16) string {
	var b []byte
	for i, n := range v {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return string(b)
}

// JA3 is the client fingerprint of github.com/salesforce/ja3.
func (h *ClientHello) JA3() string {
	formats := make([]uint16, len(h.PointFormats))
	for i, f := range h.PointFormats {
		formats[i] = uint16(f)
	}
	return md5hex(fmt.Sprintf("%d,%s,%s,%s,%s", h.Version, decimals(withoutGrease(h.Ciphers)),
		decimals(withoutGrease(h.Extensions)), decimals(withoutGrease(h.Groups)), decimals(formats)))
}

// JA3S is the server fingerprint of github.com/salesforce/ja3.
func (h *ServerHello) JA3S() string {
	return md5hex(fmt.Sprintf("%d,%d,%s", h.Version, h.Cipher, decimals(h.Extensions)))
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// JA4 is the TLS client fingerprint of github.com/FoxIO-LLC/ja4 (the part of
// JA4+ under the BSD licence). transport is 't' for TCP, 'q' for QUIC and 'd' for DTLS.
func (h *ClientHello) JA4(transport byte) string {
	ciphers, exts := withoutGrease(h.Ciphers), withoutGrease(h.Extensions)
	version := h.Version
	if v := withoutGrease(h.Versions); len(v) > 0 {
		version = slices.Max(v)
		if transport == 'd' {
			version = slices.Min(v)
		}
	}
	sni := byte('i')
	if slices.Contains(exts, extServerName) {
		sni = 'd'
	}
	first, last := byte('0'), byte('0')
	if len(h.ALPN) > 0 {
		first, last = alpnEnds(h.ALPN[0])
	}
	a := fmt.Sprintf("%c%s%c%02d%02d%c%c", transport, shortVersion(version), sni,
		min(len(ciphers), 99), min(len(exts), 99), first, last)
	named := slices.DeleteFunc(slices.Clone(exts), func(e uint16) bool { return e == extServerName || e == extALPN })
	c := hexList(named, true)
	if len(h.SignatureAlgs) > 0 {
		c += "_" + hexList(withoutGrease(h.SignatureAlgs), false)
	}
	if len(exts) == 0 {
		c = ""
	}
	return a + "_" + short(hexList(ciphers, true)) + "_" + short(c)
}

func shortVersion(v uint16) string {
	switch v {
	case TLSv13:
		return "13"
	case TLSv12:
		return "12"
	case TLSv11:
		return "11"
	case TLSv10:
		return "10"
	case SSLv3:
		return "s3"
	case 2:
		return "s2"
	case DTLSv10:
		return "d1"
	case DTLSv12:
		return "d2"
	case DTLSv13:
		return "d3"
	}
	return "00"
}

// alpnEnds are the first and last characters of a protocol name, or of its hex
// form when one of them is not alphanumeric.
func alpnEnds(s string) (first, last byte) {
	alnum := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	f, l := s[0], s[len(s)-1]
	if alnum(f) && alnum(l) {
		return f, l
	}
	const digits = "0123456789abcdef"
	return digits[f>>4], digits[l&15]
}

func hexList(v []uint16, sorted bool) string {
	if sorted {
		v = slices.Sorted(slices.Values(v))
	}
	s := make([]string, len(v))
	for i, n := range v {
		s[i] = fmt.Sprintf("%04x", n)
	}
	return strings.Join(s, ",")
}

// short is the first 12 hexadecimal digits of the SHA-256, zeros for nothing.
func short(s string) string {
	if s == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
