// Package tls parses what a TLS handshake says in the clear (RFC 8446, RFC
// 5246), and makes the fingerprints analysts compare: JA3, JA3S and the client's
// JA4. Every length is checked; any bytes may be given.
package tls

import (
	"encoding/binary"
	"errors"
)

// Handshake message types.
const (
	HelloRequest        = 0
	TypeClientHello     = 1
	TypeServerHello     = 2
	HelloVerifyRequest  = 3
	NewSessionTicket    = 4
	EndOfEarlyData      = 5
	HelloRetryRequest   = 6
	EncryptedExtensions = 8
	TypeCertificate     = 11
	ServerKeyExchange   = 12
	CertificateRequest  = 13
	ServerHelloDone     = 14
	CertificateVerify   = 15
	ClientKeyExchange   = 16
	Finished            = 20
	CertificateURL      = 21
	CertificateStatus   = 22
	SupplementalData    = 23
	KeyUpdate           = 24
	MessageHash         = 254
)

// Extension types read here.
const (
	extServerName        = 0
	extSupportedGroups   = 10
	extPointFormats      = 11
	extSignatureAlgs     = 13
	extALPN              = 16
	extSessionTicket     = 35
	extPreSharedKey      = 41
	extSupportedVersions = 43
	extKeyShare          = 51
	extKeyShareDraft     = 40 // before draft 23 of TLS 1.3
)

// ErrMalformed is returned for a message whose lengths do not add up.
var ErrMalformed = errors.New("tls: malformed message")

// ClientHello is a parsed ClientHello. Lists are in the sender's order.
type ClientHello struct {
	Version       uint16 // legacy_version
	SessionID     []byte
	Ciphers       []uint16
	Extensions    []uint16
	ServerName    string
	ALPN          []string
	Groups        []uint16
	PointFormats  []uint8
	SignatureAlgs []uint16
	Versions      []uint16 // supported_versions
	Ticket        bool     // a session ticket is offered
	PSK           bool     // a pre-shared key is offered
}

// ServerHello is a parsed ServerHello or HelloRetryRequest.
type ServerHello struct {
	Version    uint16 // legacy_version
	SessionID  []byte
	Cipher     uint16
	Extensions []uint16
	Selected   uint16 // supported_versions; 0 when not there
	ALPN       string
	Group      uint16 // key_share; 0 when not there
	PSK        bool   // the pre-shared key is accepted
	Retry      bool
}

// reader takes fields off the front of a message.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() int {
	if b := r.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) vec8() []byte  { return r.take(r.u8()) }
func (r *reader) vec16() []byte { return r.take(int(r.u16())) }

func u16s(b []byte) []uint16 {
	if len(b) < 2 {
		return nil
	}
	v := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		v = append(v, binary.BigEndian.Uint16(b))
	}
	return v
}

// ParseClientHello parses the body of a ClientHello, without the 4-byte
// handshake header.
func ParseClientHello(b []byte) (*ClientHello, error) {
	r := reader{b: b}
	h := &ClientHello{Version: r.u16()}
	r.take(32)
	h.SessionID = r.vec8()
	if h.Version == DTLSv10 || h.Version == DTLSv12 {
		r.vec8() // cookie, RFC 6347 §4.2.1
	}
	h.Ciphers = u16s(r.vec16())
	r.vec8() // compression methods
	if r.bad {
		return nil, ErrMalformed
	}
	if len(r.b) == 0 {
		return h, nil
	}
	ext := reader{b: r.vec16()}
	for len(ext.b) > 0 {
		typ := ext.u16()
		body := reader{b: ext.vec16()}
		if ext.bad {
			return h, ErrMalformed
		}
		h.Extensions = append(h.Extensions, typ)
		h.extension(typ, body)
	}
	return h, nil
}

func (h *ClientHello) extension(typ uint16, r reader) {
	switch typ {
	case extServerName:
		for list := (reader{b: r.vec16()}); len(list.b) > 0; {
			kind := list.u8()
			if n := list.vec16(); kind == 0 && h.ServerName == "" {
				h.ServerName = string(n)
			}
		}
	case extALPN:
		for list := (reader{b: r.vec16()}); len(list.b) > 0; {
			if p := list.vec8(); len(p) > 0 {
				h.ALPN = append(h.ALPN, string(p))
			}
		}
	case extSupportedGroups:
		h.Groups = u16s(r.vec16())
	case extPointFormats:
		h.PointFormats = r.vec8()
	case extSignatureAlgs:
		h.SignatureAlgs = u16s(r.vec16())
	case extSupportedVersions:
		h.Versions = u16s(r.vec8())
	case extSessionTicket:
		h.Ticket = len(r.b) > 0
	case extPreSharedKey:
		h.PSK = true
	}
}

// retryRandom marks a HelloRetryRequest (RFC 8446 §4.1.3).
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
	"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// ParseServerHello parses the body of a ServerHello.
func ParseServerHello(b []byte) (*ServerHello, error) {
	r := reader{b: b}
	h := &ServerHello{Version: r.u16()}
	if h.Version>>8 == 0x7f && h.Version < 0x7f16 {
		// Drafts before 22 had no session id and compression method.
		r.take(32)
		h.Cipher = r.u16()
	} else {
		h.Retry = string(r.take(32)) == retryRandom
		h.SessionID = r.vec8()
		h.Cipher = r.u16()
		r.u8() // compression method
	}
	if r.bad {
		return nil, ErrMalformed
	}
	if len(r.b) == 0 {
		return h, nil
	}
	ext := reader{b: r.vec16()}
	for len(ext.b) > 0 {
		typ := ext.u16()
		body := reader{b: ext.vec16()}
		if ext.bad {
			return h, ErrMalformed
		}
		h.Extensions = append(h.Extensions, typ)
		switch typ {
		case extSupportedVersions:
			h.Selected = body.u16()
		case extALPN:
			list := reader{b: body.vec16()}
			h.ALPN = string(list.vec8())
		case extKeyShare, extKeyShareDraft:
			h.Group = body.u16()
		case extPreSharedKey:
			h.PSK = true
		}
	}
	return h, nil
}

// Negotiated is the version the server chose.
func (h *ServerHello) Negotiated() uint16 {
	if h.Selected != 0 {
		return h.Selected
	}
	return h.Version
}

// Certificates splits the body of a Certificate message of TLS 1.2 and before
// into DER certificates, the sender's own first.
func Certificates(b []byte) [][]byte {
	if len(b) < 3 {
		return nil
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	b = b[3:]
	if n > len(b) {
		n = len(b)
	}
	var list [][]byte
	for b = b[:n]; len(b) >= 3; {
		n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if n > len(b)-3 || n == 0 {
			return list
		}
		list = append(list, b[3:3+n])
		b = b[3+n:]
	}
	return list
}

// KeyExchangeGroup returns the named curve of an ECDHE ServerKeyExchange, 0 for
// others (RFC 8422 §5.4).
func KeyExchangeGroup(b []byte) uint16 {
	if len(b) >= 4 && b[0] == 3 {
		return binary.BigEndian.Uint16(b[1:])
	}
	return 0
}
