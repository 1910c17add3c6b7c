package network

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/xentape/xentape/analyze/internal/ssh"
)

// An SSH record is one session, under the names of Zeek's ssh.log, with HASSH.
type SSH struct {
	Header
	Version            *uint64 `json:"version,omitempty"`
	AuthSuccess        *bool   `json:"auth_success,omitempty"` // inferred from the sizes of encrypted packets
	AuthAttempts       uint64  `json:"auth_attempts"`
	Direction          string  `json:"direction,omitempty"` // INBOUND, OUTBOUND
	Client             string  `json:"client,omitempty"`
	Server             string  `json:"server,omitempty"`
	CipherAlg          string  `json:"cipher_alg,omitempty"`
	MACAlg             string  `json:"mac_alg,omitempty"`
	CompressionAlg     string  `json:"compression_alg,omitempty"`
	KexAlg             string  `json:"kex_alg,omitempty"`
	HostKeyAlg         string  `json:"host_key_alg,omitempty"`
	HostKeyFingerprint string  `json:"host_key_fingerprint,omitempty"` // as ssh-keygen -l writes it
	HASSH              string  `json:"hassh,omitempty"`
	HASSHServer        string  `json:"hassh_server,omitempty"`
}

// sshParser follows both directions up to encryption, and then the sizes of
// what is encrypted.
type sshParser struct {
	rec       *SSH
	side      [2]sshSide
	logged    bool
	confirmed bool
	gapped    bool
	auth      sshAuth
}

type sshSide struct {
	buf       []byte
	banner    bool
	kex       *ssh.KexInit
	encrypted bool
	bad       bool
}

func (p *sshParser) data(c *conn, isOrig bool, b []byte) bool {
	s := &p.side[side(isOrig)]
	if p.gapped || s.bad {
		return !p.gapped
	}
	if s.encrypted {
		return p.sealed(c, isOrig, len(b))
	}
	s.buf = append(s.buf, b...)
	if !s.banner && !p.version(c, s, isOrig) {
		return true
	}
	if v := p.rec.Version; v != nil && *v == 1 {
		return p.version1(c, s, isOrig)
	}
	for !s.encrypted {
		m, n, err := ssh.Packet(s.buf)
		if err != nil {
			s.bad, s.buf = true, nil
			return !p.side[0].bad || !p.side[1].bad
		}
		if n == 0 {
			return true
		}
		if len(m) > 0 {
			p.message(c, s, isOrig, m)
		}
		s.buf = s.buf[n:]
	}
	rest := len(s.buf)
	s.buf = nil
	if rest > 0 {
		return p.sealed(c, isOrig, rest)
	}
	return true
}

// version1 waits for the client's session key message of SSH 1 (number 3), after
// which all is encrypted.
func (p *sshParser) version1(c *conn, s *sshSide, isOrig bool) bool {
	if len(s.buf) < 5 {
		return true
	}
	pad := 8 - int(s.buf[3]%8)
	if isOrig && len(s.buf) > 4+pad && s.buf[4+pad] == 3 {
		c.addService("ssh")
		p.finish(c)
		return false
	}
	s.bad, s.buf = true, nil
	return !p.side[0].bad || !p.side[1].bad
}

// version reads the identification line; false means that it is not there yet.
func (p *sshParser) version(c *conn, s *sshSide, isOrig bool) bool {
	v, n, err := ssh.Banner(s.buf)
	if err != nil {
		s.bad, s.buf = true, nil
		return false
	}
	if n == 0 {
		return false
	}
	s.banner, s.buf = true, s.buf[n:]
	if p.rec == nil {
		p.rec = &SSH{Header: c.header(), Direction: c.shard.opt.direction(c)}
	}
	if isOrig {
		p.rec.Client = v
	} else {
		p.rec.Server = v
	}
	p.rec.LastRecord = c.lastRec
	p.rec.Version = sshVersion(p.rec.Client, p.rec.Server)
	return true
}

// sshVersion is the protocol both speak: 1.99 means 1 and 2 (RFC 4253 §5.1).
func sshVersion(client, server string) *uint64 {
	if client == "" || server == "" {
		return nil
	}
	kinds := func(v string) (one, two bool) {
		v = v[4:]
		return strings.HasPrefix(v, "1."), strings.HasPrefix(v, "2") || strings.HasPrefix(v, "1.99")
	}
	c1, c2 := kinds(client)
	s1, s2 := kinds(server)
	n := uint64(2)
	switch {
	case c2 && s2:
	case c1 && s1:
		n = 1
	default:
		return nil
	}
	return &n
}

func (p *sshParser) message(c *conn, s *sshSide, isOrig bool, m []byte) {
	p.rec.LastRecord = c.lastRec
	switch m[0] {
	case ssh.MsgKexInit:
		k, err := ssh.ParseKexInit(m)
		if err != nil || s.kex != nil {
			return
		}
		s.kex = k
		if isOrig {
			p.rec.HASSH = k.HASSH()
		} else {
			p.rec.HASSHServer = k.HASSHServer()
		}
		if p.side[0].kex != nil && p.side[1].kex != nil {
			p.negotiate(p.side[0].kex, p.side[1].kex)
		}
	case ssh.MsgKexDHReply, ssh.MsgKexGEXReply:
		groups := strings.HasPrefix(p.rec.KexAlg, "diffie-hellman-group-exchange")
		if isOrig || p.rec.KexAlg == "" || groups != (m[0] == ssh.MsgKexGEXReply) {
			return
		}
		if key, _, ok := ssh.String(m[1:]); ok {
			sum := sha256.Sum256(key)
			p.rec.HostKeyFingerprint = "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
		}
	case ssh.MsgNewKeys:
		s.encrypted = true
		if !p.confirmed && p.rec.KexAlg != "" {
			p.confirmed = true
			c.addService("ssh")
		}
	}
}

func (p *sshParser) negotiate(cl, sv *ssh.KexInit) {
	both := func(up, down string) string {
		if up == down {
			return up
		}
		return "To server: " + up + ", to client: " + down
	}
	r := p.rec
	r.CipherAlg = both(ssh.Choose(cl.CipherToServer, sv.CipherToServer), ssh.Choose(cl.CipherToClient, sv.CipherToClient))
	r.MACAlg = both(ssh.Choose(cl.MACToServer, sv.MACToServer), ssh.Choose(cl.MACToClient, sv.MACToClient))
	r.CompressionAlg = both(ssh.Choose(cl.CompToServer, sv.CompToServer), ssh.Choose(cl.CompToClient, sv.CompToClient))
	r.KexAlg = ssh.Choose(cl.Kex, sv.Kex)
	r.HostKeyAlg = ssh.Choose(cl.HostKey, sv.HostKey)
}

// sshAuth infers the outcome of authentication from the sizes of the server's
// encrypted segments, as Zeek does: the answer to the service request has a
// fixed size; success is 16 bytes shorter; failures are equal among themselves.
type sshAuth struct {
	client, skippedBanner bool
	accept, failure       int
}

// sealed takes an encrypted segment of n bytes. It returns false when there is
// nothing more to learn.
func (p *sshParser) sealed(c *conn, isOrig bool, n int) bool {
	r, a := p.rec, &p.auth
	if r.Version == nil || *r.Version != 2 {
		return true
	}
	if isOrig {
		a.client = true
		return true
	}
	switch {
	case !a.client:
	case a.accept == 0:
		a.accept = n
	case n+16 == a.accept:
		return p.attempt(c, true)
	case a.failure == 0:
		if !a.skippedBanner && n-a.accept > 256 {
			a.skippedBanner = true
		} else {
			a.failure = n
		}
	case n == a.failure:
		return p.attempt(c, false)
	}
	return true
}

func (p *sshParser) attempt(c *conn, success bool) bool {
	r := p.rec
	if strings.Contains(r.CompressionAlg, "zlib") {
		return !success // sizes say nothing about compressed packets
	}
	r.AuthSuccess = &success
	r.AuthAttempts++
	r.LastRecord = c.lastRec
	if success {
		p.finish(c)
	}
	return !success
}

func (p *sshParser) gap(*conn, bool, uint64) bool {
	p.gapped = true
	return true
}

func (p *sshParser) eof(*conn, bool) {}

func (p *sshParser) finish(c *conn) {
	if p.rec == nil || p.logged {
		return
	}
	p.logged = true
	c.app.ssh = p.rec
	c.shard.content.ssh = append(c.shard.content.ssh, p.rec)
}

// direction says whether a connection crosses the border of the local networks.
func (o *Options) direction(c *conn) string {
	switch orig, resp := o.local(c.orig.Netip()), o.local(c.resp.Netip()); {
	case orig && !resp:
		return "OUTBOUND"
	case !orig && resp:
		return "INBOUND"
	}
	return ""
}
