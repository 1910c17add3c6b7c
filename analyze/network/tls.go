package network

import (
	"encoding/binary"

	"github.com/xentape/xentape/analyze/internal/tls"
)

// A TLS record is one handshake, under the names of Zeek's ssl.log and with
// fingerprints.
type TLS struct {
	Header
	Version            string   `json:"version,omitempty"`
	Cipher             string   `json:"cipher,omitempty"`
	Curve              string   `json:"curve,omitempty"`
	ServerName         string   `json:"server_name,omitempty"`
	Resumed            bool     `json:"resumed"`
	LastAlert          string   `json:"last_alert,omitempty"`
	NextProtocol       string   `json:"next_protocol,omitempty"` // ALPN the server chose, where it says so in the clear
	Established        bool     `json:"established"`
	History            string   `json:"ssl_history"`
	CertChainFPs       []string `json:"cert_chain_fps,omitempty"` // SHA-256 of the server's certificates, its own first
	ClientCertChainFPs []string `json:"client_cert_chain_fps,omitempty"`
	Subject            string   `json:"subject,omitempty"` // of the server's own certificate
	Issuer             string   `json:"issuer,omitempty"`
	ClientSubject      string   `json:"client_subject,omitempty"`
	ClientIssuer       string   `json:"client_issuer,omitempty"`
	SANs               []string `json:"san_dns,omitempty"`
	NotBefore          *Seconds `json:"not_valid_before,omitempty"`
	NotAfter           *Seconds `json:"not_valid_after,omitempty"`
	SNIMatchesCert     *bool    `json:"sni_matches_cert,omitempty"`
	ALPN               []string `json:"client_alpn,omitempty"` // what the client offered
	JA3                string   `json:"ja3,omitempty"`
	JA3S               string   `json:"ja3s,omitempty"`
	JA4                string   `json:"ja4,omitempty"`
}

// Bounds of what is buffered of a TLS stream.
const (
	maxTLSRecord    = 5 + 16384 + 2048 // RFC 5246 §6.2.3
	maxTLSHandshake = 4 << 20          // of one message
	freeHandshake   = 32 << 10         // of one message, without asking for room in the shard
)

// Record content types.
const (
	tlsChangeCipherSpec = 20
	tlsAlert            = 21
	tlsHandshake        = 22
	tlsApplication      = 23
	tlsHeartbeat        = 24
)

// tlsParser reads the record layer of both directions.
type tlsParser struct {
	handshake
	record    [2][]byte
	message   [2][]byte
	encrypted [2]bool
	bad       [2]bool
	held      [2]int // bytes of message counted in the shard's total
	logged    bool
}

func (p *tlsParser) data(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	if p.bad[i] {
		return !p.bad[1-i]
	}
	buf := b
	if len(p.record[i]) > 0 {
		p.record[i] = append(p.record[i], b...)
		buf = p.record[i]
	}
	if n := sslv2Hello(buf); n > 0 && isOrig && (p.rec == nil || p.rec.History == "") {
		p.begin(c, 't')
		p.note(true, 'c')
		buf = buf[min(n, len(buf)):]
	}
	for len(buf) >= 5 {
		n := 5 + int(binary.BigEndian.Uint16(buf[3:]))
		if buf[1] != 3 || buf[2] > 3 || n > maxTLSRecord || buf[0] < tlsChangeCipherSpec || buf[0] > 26 {
			p.log(c)
			c.violation("ssl")
			return false
		}
		if len(buf) < n {
			break
		}
		if !p.take(c, isOrig, buf[0], buf[5:n]) {
			return false
		}
		buf = buf[n:]
	}
	p.record[i] = append(p.record[i][:0], buf...)
	return true
}

// sslv2Hello returns the length of a ClientHello in the format of SSL 2 that
// offers a later version (RFC 5246 appendix E.2), 0 when b begins otherwise.
func sslv2Hello(b []byte) int {
	if len(b) < 5 || b[0]&0x80 == 0 || b[2] != tls.TypeClientHello || b[3] != 3 {
		return 0
	}
	return 2 + int(b[0]&0x7f)<<8 + int(b[1])
}

// take handles one record; false ends the parser.
func (p *tlsParser) take(c *conn, isOrig bool, typ byte, b []byte) bool {
	i := side(isOrig)
	p.begin(c, 't')
	p.rec.LastRecord = c.lastRec
	if typ == tlsApplication && !p.encrypted[i] && (p.version == 0 || tls.Is13(p.version)) {
		p.encrypted[i] = true // TLS 1.3 encrypts without saying so
	}
	if p.encrypted[i] {
		if p.encrypted[0] && p.encrypted[1] {
			p.rec.Established = true
			p.log(c)
			return false // nothing more is readable
		}
		return true
	}
	client := p.client(isOrig)
	switch typ {
	case tlsChangeCipherSpec:
		p.changeCipher(client)
		if !tls.Is13(p.version) {
			p.encrypted[i] = true
		}
	case tlsAlert:
		p.alert(client, b)
	case tlsHeartbeat:
		p.note(client, 'b')
	case tlsHandshake:
		return p.messages(c, isOrig, b)
	}
	return true
}

// messages cuts handshake records into messages.
func (p *tlsParser) messages(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	if !p.room(c, i, len(b)) {
		p.bad[i] = true
		p.drop(c, i)
		if p.bad[1-i] {
			p.log(c)
			return false
		}
		return true
	}
	p.message[i] = append(p.message[i], b...)
	m := p.message[i]
	for len(m) >= 4 {
		n := 4 + int(m[1])<<16 + int(m[2])<<8 + int(m[3])
		if len(m) < n {
			break
		}
		if !p.said(c, isOrig, "ssl", m[0], m[4:n]) {
			p.log(c)
			return false
		}
		m = m[n:]
	}
	p.message[i] = append(p.message[i][:0], m...)
	if len(m) == 0 && p.held[i] > 0 {
		p.drop(c, i)
	}
	return true
}

// room reports whether n more bytes of a message can be kept. Long messages, which
// are rare, share the shard's room with everything else that is held.
func (p *tlsParser) room(c *conn, i, n int) bool {
	total := len(p.message[i]) + n
	if total <= freeHandshake {
		return true
	}
	t := &c.shard.content
	if total > maxTLSHandshake || t.held+n > maxHeld {
		return false
	}
	t.held += n
	p.held[i] += n
	return true
}

// drop forgets the message being collected.
func (p *tlsParser) drop(c *conn, i int) {
	c.shard.content.held -= p.held[i]
	p.held[i], p.message[i] = 0, nil
}

func (p *tlsParser) log(c *conn) {
	if p.logged || p.rec == nil {
		return
	}
	p.logged = true
	p.drop(c, 0)
	p.drop(c, 1)
	c.addTLS(p.rec)
}

func (c *conn) addTLS(r *TLS) {
	if c.app.tls == nil {
		c.app.tls = r
	}
	c.shard.content.tls = append(c.shard.content.tls, r)
}

func (p *tlsParser) gap(c *conn, isOrig bool, _ uint64) bool {
	p.bad[side(isOrig)] = true
	if p.bad[0] && p.bad[1] {
		p.log(c)
		return false
	}
	return true
}

func (p *tlsParser) eof(*conn, bool) {}

func (p *tlsParser) finish(c *conn) { p.log(c) }
