package network

import (
	"bytes"
	"encoding/binary"
)

// maxMessage bounds what a binary parser keeps to see one message whole.
const maxMessage = 64 << 10

// framed cuts each direction into messages and hands them on.
type framed struct {
	buf [2][]byte
	// size says how long the message at b is; 0 when that cannot be said yet,
	// negative when it is none.
	size func(b []byte) int
	// take handles a message; false ends the parser.
	take func(c *conn, isOrig bool, m []byte) bool
}

func (p *framed) data(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	p.buf[i] = append(p.buf[i], b...)
	for {
		n := p.size(p.buf[i])
		if n < 0 || n > maxMessage {
			return false
		}
		if n == 0 || len(p.buf[i]) < n {
			return len(p.buf[i]) <= maxMessage
		}
		if !p.take(c, isOrig, p.buf[i][:n]) {
			return false
		}
		p.buf[i] = p.buf[i][n:]
	}
}

func (p *framed) gap(*conn, bool, uint64) bool { return false }
func (p *framed) eof(*conn, bool)              {}
func (p *framed) finish(*conn)                 {}

// startTLSOID is the OID of LDAP's StartTLS operation (RFC 4511 §4.14.1).
const startTLSOID = "1.3.6.1.4.1.1466.20037"

// newLDAP follows LDAP over TCP (RFC 4511) as far as its authentication.
func newLDAP() parser {
	starting := false
	p := &framed{size: func(b []byte) int {
		if len(b) > 0 && b[0] != 0x30 {
			return -1
		}
		if n := berSize(b); n > 0 || len(b) < 6 {
			return n
		}
		return -1
	}}
	p.take = func(c *conn, isOrig bool, m []byte) bool {
		op := ldapOp(m)
		if op == 0 {
			return false
		}
		switch op {
		case 0x60: // BindRequest
			sasl(c, m)
		case 0x61:
			sasl(c, m)
		case 0x77: // ExtendedRequest
			starting = bytes.Contains(m, []byte(startTLSOID))
		case 0x78: // ExtendedResponse
			if starting && !isOrig && bytes.Contains(m, []byte{0x0a, 1, 0}) {
				c.addService("ldap_tcp")
				c.app.reopen()
				return false
			}
		}
		c.addService("ldap_tcp")
		return true
	}
	return p
}

// Mechanisms inside SASL: Kerberos 5 in its two spellings, and an AP-REQ's token
// identifier after it (RFC 4121 §4.1, MS-SPNG); NTLM's signature.
var (
	krb5OID   = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02}
	krb5Token = append(krb5OID[:11:11], 0x01, 0x00)
	ntlmSig   = []byte("NTLMSSP\x00")
)

// sasl names the mechanisms a bind carries.
func sasl(c *conn, m []byte) {
	if bytes.Contains(m, ntlmSig) {
		c.addService("ntlm")
	}
	if bytes.Contains(m, krb5Token) {
		c.addService("krb")
		c.addService("gssapi")
	}
}

// newModbus recognizes Modbus/TCP: a header whose protocol is 0 and whose
// length and function fit.
func newModbus() parser {
	return &framed{
		size: func(b []byte) int {
			if len(b) < 8 {
				return 0
			}
			n := int(binary.BigEndian.Uint16(b[4:]))
			if binary.BigEndian.Uint16(b[2:]) != 0 || n < 2 || n > 254 || b[7]&0x7f == 0 {
				return -1
			}
			return 6 + n
		},
		take: func(c *conn, _ bool, _ []byte) bool {
			c.addService("modbus")
			return true
		},
	}
}

// newDCERPC recognizes a connection-oriented DCE/RPC header (C706 §12.6).
func newDCERPC() parser {
	return &framed{
		size: func(b []byte) int {
			if len(b) < 16 {
				return 0
			}
			if !dceRPC(b) {
				return -1
			}
			if b[4]&0x10 != 0 {
				return int(binary.LittleEndian.Uint16(b[8:]))
			}
			return int(binary.BigEndian.Uint16(b[8:]))
		},
		take: func(c *conn, _ bool, _ []byte) bool {
			c.addService("dce_rpc")
			return true
		},
	}
}

func dceRPC(b []byte) bool {
	return len(b) >= 16 && b[0] == 5 && b[1] <= 1 && b[2] <= 19 && b[4]&0xef == 0
}

// newKerberos follows Kerberos over TCP (RFC 4120 §7.2.2).
func newKerberos() parser {
	return &framed{
		size: func(b []byte) int {
			if len(b) < 4 {
				return 0
			}
			return 4 + int(binary.BigEndian.Uint32(b)&0x7fffffff)
		},
		take: func(c *conn, _ bool, m []byte) bool {
			if !kerberos(m[4:]) {
				return false
			}
			c.addService("krb_tcp")
			return true
		},
	}
}

// newSMB recognizes SMB 1 to 3 behind the NetBIOS session header.
func newSMB() parser {
	return &framed{
		size: func(b []byte) int {
			if len(b) < 8 {
				return 0
			}
			if b[0] == 0 && !smb(b) {
				return -1
			}
			return 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		},
		take: func(c *conn, _ bool, m []byte) bool {
			if smb(m) {
				c.addService("smb")
			}
			if bytes.Contains(m, ntlmSig) {
				c.addService("gssapi")
				c.addService("ntlm")
			}
			return true
		},
	}
}

func smb(b []byte) bool {
	return len(b) >= 8 && (b[4] == 0xfe || b[4] == 0xff) && string(b[5:8]) == "SMB"
}

// newMySQL follows MySQL's handshake; the client may turn to TLS in it.
func newMySQL() parser {
	greeted := false
	return &framed{
		size: func(b []byte) int {
			if len(b) < 5 {
				return 0
			}
			return 4 + int(b[0]) + int(b[1])<<8 + int(b[2])<<16
		},
		take: func(c *conn, isOrig bool, m []byte) bool {
			if !isOrig {
				greeted = greeted || m[3] == 0 && (m[4] == 9 || m[4] == 10)
				return greeted
			}
			if !greeted {
				return true
			}
			c.addService("mysql")
			if len(m) == 36 && binary.LittleEndian.Uint32(m[4:])&0x800 != 0 { // CLIENT_SSL
				c.app.reopen()
				return false
			}
			return len(m) < 36
		},
	}
}
