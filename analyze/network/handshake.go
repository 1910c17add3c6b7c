package network

import (
	"crypto/sha256"

	"github.com/xentape/xentape/analyze/internal/tls"
)

// maxTLSHistory is Zeek's max_ssl_history_length.
const maxTLSHistory = 100

// handshake follows a TLS handshake, over TCP or in QUIC.
type handshake struct {
	rec         *TLS
	transport   byte // 't', 'd' or 'q', for JA4
	version     uint16
	sessionID   string
	ticketEmpty bool // a ticket and no session id were offered
	psk         bool
	keyExchange bool // ClientKeyExchange seen
	retry       bool
	flipped     bool // the responder is the client
}

// begin starts the record at its first packet.
func (h *handshake) begin(c *conn, transport byte) {
	if h.rec == nil {
		h.rec = &TLS{Header: c.header()}
		h.transport = transport
	}
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

// client reports whether a side is the client.
func (h *handshake) client(isOrig bool) bool { return isOrig != h.flipped }

// said takes one whole handshake message of a side, whose ClientHello, if it is the
// first message, makes it the client. It returns false when it is none.
func (h *handshake) said(c *conn, isOrig bool, service string, typ byte, body []byte) bool {
	switch typ {
	case tls.TypeClientHello:
		if !isOrig && h.rec.History == "" {
			h.flipped, h.rec.History = true, "^"
		}
		c.confirm(service)
	case tls.TypeServerHello:
		c.confirm(service)
	}
	return h.message(c, h.client(isOrig), typ, body)
}

// message takes one whole handshake message. It returns false when it is none.
func (h *handshake) message(c *conn, client bool, typ byte, body []byte) bool {
	switch typ {
	case tls.TypeClientHello:
		hello, err := tls.ParseClientHello(body)
		if hello == nil || err != nil && len(hello.Extensions) == 0 {
			return false
		}
		h.clientHello(hello)
	case tls.TypeServerHello:
		hello, err := tls.ParseServerHello(body)
		if hello == nil || err != nil && len(hello.Extensions) == 0 {
			return false
		}
		h.serverHello(hello)
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

func (h *handshake) clientHello(m *tls.ClientHello) {
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

func (h *handshake) serverHello(m *tls.ServerHello) {
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

// alert notes an alert.
func (h *handshake) alert(client bool, b []byte) {
	if len(b) >= 2 {
		h.note(client, 'l')
		h.rec.LastAlert = tls.AlertName(b[1])
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
