package network

import (
	"crypto/sha256"
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

// maxTLSHistory is Zeek's max_ssl_history_length.
const maxTLSHistory = 100

// handshake follows a TLS handshake, over TCP or in QUIC.
type handshake struct {
	rec         *TLS
	transport   byte // 't' or 'q', for JA4
	version     uint16
	sessionID   string
	ticketEmpty bool // a ticket and no session id were offered
	psk         bool
	keyExchange bool // ClientKeyExchange seen
	retry       bool
}

func (h *handshake) note(client bool, code byte) {
	if len(h.rec.History) >= maxTLSHistory {
		return
	}
	if client {
		code -= 'a' - 'A'
	}
	h.rec.History += string(code)
}

// letters are Zeek's ssl_history letters of handshake messages.
var letters = map[byte]byte{
	tls.HelloRequest: 'h', tls.TypeClientHello: 'c', tls.TypeServerHello: 's', tls.HelloVerifyRequest: 'v',
	tls.NewSessionTicket: 't', tls.EndOfEarlyData: 'e', tls.HelloRetryRequest: 'j', tls.EncryptedExtensions: 'o',
	tls.TypeCertificate: 'x', tls.ServerKeyExchange: 'k', tls.CertificateRequest: 'r', tls.ServerHelloDone: 'n',
	tls.CertificateVerify: 'y', tls.ClientKeyExchange: 'g', tls.Finished: 'f', tls.CertificateURL: 'w',
	tls.CertificateStatus: 'u', tls.SupplementalData: 'a', tls.KeyUpdate: 'p', tls.MessageHash: 'm',
}

// message takes one whole handshake message. It returns false when it is none.
func (h *handshake) message(c *conn, client bool, typ byte, body []byte) bool {
	switch typ {
	case tls.TypeClientHello:
		hello, err := tls.ParseClientHello(body)
		if hello == nil || err != nil && len(hello.Extensions) == 0 {
			return false
		}
		h.client(c, hello)
	case tls.TypeServerHello:
		hello, err := tls.ParseServerHello(body)
		if hello == nil || err != nil && len(hello.Extensions) == 0 {
			return false
		}
		h.server(c, hello)
	case tls.TypeCertificate:
		if !tls.Is13(h.version) {
			h.certificates(c, client, body)
		}
	case tls.ServerKeyExchange:
		if g := tls.KeyExchangeGroup(body); g != 0 {
			h.rec.Curve = tls.GroupName(g)
		}
	case tls.ClientKeyExchange:
		h.keyExchange = h.keyExchange || client
	}
	code, ok := letters[typ]
	if !ok {
		code = 'z'
	}
	if typ == tls.TypeServerHello && h.retry {
		code, h.retry = 'j', false
	}
	h.note(client, code)
	return true
}

func (h *handshake) client(_ *conn, m *tls.ClientHello) {
	r := h.rec
	if m.ServerName != "" {
		r.ServerName = m.ServerName
	}
	r.ALPN = m.ALPN
	h.ticketEmpty = m.Ticket
	h.psk = h.psk || m.PSK
	if len(m.SessionID) > 0 && !allZero(m.SessionID) {
		h.sessionID, h.ticketEmpty = string(m.SessionID), false
	}
	r.JA3, r.JA4 = m.JA3(), m.JA4(h.transport)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (h *handshake) server(_ *conn, m *tls.ServerHello) {
	r := h.rec
	h.version = m.Negotiated()
	r.Version, r.Cipher = tls.VersionName(h.version), tls.CipherName(m.Cipher)
	h.retry = m.Retry
	if h.sessionID != "" && h.sessionID == string(m.SessionID) && (!tls.Is13(h.version) || h.version>>8 == 0x7e) {
		r.Resumed = true
	}
	if m.PSK && h.psk {
		r.Resumed = true
	}
	if m.Group != 0 {
		r.Curve = tls.GroupName(m.Group)
	}
	if m.ALPN != "" {
		r.NextProtocol = m.ALPN
	}
	if !m.Retry || r.JA3S == "" {
		r.JA3S = m.JA3S()
	}
}

// changeCipher notes a ChangeCipherSpec.
func (h *handshake) changeCipher(client bool) {
	h.note(client, 'i')
	if client && h.ticketEmpty && !h.keyExchange {
		h.rec.Resumed = true
	}
}

// maxChain bounds the certificates noted of one chain.
const maxChain = 32

// certificates notes the fingerprints of a chain, and reads its first.
func (h *handshake) certificates(c *conn, client bool, body []byte) {
	chain := tls.Certificates(body)
	chain = chain[:min(len(chain), maxChain)]
	r := h.rec
	if len(chain) > 0 && r.CertChainFPs == nil {
		r.CertChainFPs, r.ClientCertChainFPs = []string{}, []string{}
	}
	for i, der := range chain {
		sum := sha256.Sum256(der)
		fp := hexString(sum[:])
		fps := &r.CertChainFPs
		if client {
			fps = &r.ClientCertChainFPs
		}
		*fps = append(*fps, fp)
		if i == 0 {
			c.shard.content.certs.describe(r, client, sum, der)
		}
	}
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
	flipped   bool // the responder is the client
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
		p.begin(c)
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

func (p *tlsParser) begin(c *conn) {
	if p.rec == nil {
		p.rec = &TLS{Header: c.header()}
		p.transport = 't'
	}
}

// take handles one record; false ends the parser.
func (p *tlsParser) take(c *conn, isOrig bool, typ byte, b []byte) bool {
	i := side(isOrig)
	p.begin(c)
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
	client := isOrig != p.flipped
	switch typ {
	case tlsChangeCipherSpec:
		p.changeCipher(client)
		if !tls.Is13(p.version) {
			p.encrypted[i] = true
		}
	case tlsAlert:
		if len(b) >= 2 {
			p.note(client, 'l')
			p.rec.LastAlert = tls.AlertName(b[1])
		}
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
		switch m[0] {
		case tls.TypeClientHello:
			if !isOrig && p.rec.History == "" {
				p.flipped = true
				p.rec.History = "^"
			}
			c.confirm("ssl")
		case tls.TypeServerHello:
			c.confirm("ssl")
		}
		if !p.handshake.message(c, isOrig != p.flipped, m[0], m[4:n]) {
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
