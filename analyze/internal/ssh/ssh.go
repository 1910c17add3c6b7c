// Package ssh parses what an SSH connection says before it is encrypted: the
// version exchange and the algorithm lists (RFC 4253 §4.2, §7.1), and computes
// HASSH, the fingerprint of those lists.
package ssh

import (
	"bytes"
	"crypto/md5" //nolint:gosec // HASSH is defined with MD5
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
)

// Message numbers (RFC 4250 §4.1).
const (
	MsgKexInit     = 20
	MsgNewKeys     = 21
	MsgKexDHReply  = 31 // also KEX_ECDH_REPLY and KEX_DH_GEX_GROUP
	MsgKexGEXReply = 33
)

// MaxBanner bounds the lines before and the version line itself.
const MaxBanner = 8 << 10

// MaxPacket bounds an unencrypted packet (RFC 4253 §6.1 asks for 35,000).
const MaxPacket = 256 << 10

// KexInit holds the name-lists of SSH_MSG_KEXINIT in their order.
type KexInit struct {
	Kex, HostKey                   []string
	CipherToServer, CipherToClient []string
	MACToServer, MACToClient       []string
	CompToServer, CompToClient     []string
}

// ErrMalformed is returned for a message whose lengths do not add up.
var ErrMalformed = errors.New("ssh: malformed message")

// ParseKexInit parses the payload of a KEXINIT, message number included.
func ParseKexInit(b []byte) (*KexInit, error) {
	if len(b) < 17 || b[0] != MsgKexInit {
		return nil, ErrMalformed
	}
	b = b[17:]
	k := &KexInit{}
	for _, list := range []*[]string{
		&k.Kex, &k.HostKey, &k.CipherToServer, &k.CipherToClient,
		&k.MACToServer, &k.MACToClient, &k.CompToServer, &k.CompToClient,
	} {
		s, rest, ok := String(b)
		if !ok {
			return nil, ErrMalformed
		}
		b = rest
		if len(s) > 0 {
			*list = strings.Split(string(s), ",")
		}
	}
	return k, nil
}

// String takes an SSH string off the front of b.
func String(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// Banner finds the version line at the start of a stream, after any other lines
// a server sent before it. n is where the line ends; 0 means not yet whole.
func Banner(b []byte) (version string, n int, err error) {
	off := 0
	for {
		i := bytes.IndexByte(b[off:], '\n')
		if i < 0 {
			if len(b) > MaxBanner {
				return "", 0, ErrMalformed
			}
			return "", 0, nil
		}
		line := bytes.TrimRight(b[off:off+i], "\r")
		off += i + 1
		if bytes.HasPrefix(bytes.ToUpper(line), []byte("SSH-")) {
			return string(line), off, nil
		}
		if off > MaxBanner {
			return "", 0, ErrMalformed
		}
	}
}

// Packet returns the payload of the unencrypted binary packet at b and its whole
// length; n is 0 when it is not there in full.
func Packet(b []byte) (payload []byte, n int, err error) {
	if len(b) < 5 {
		return nil, 0, nil
	}
	size := binary.BigEndian.Uint32(b)
	pad := uint32(b[4])
	if size > MaxPacket || size < pad+2 {
		return nil, 0, ErrMalformed
	}
	if uint64(len(b)) < uint64(size)+4 {
		return nil, 0, nil
	}
	return b[5 : 4+size-pad], int(size) + 4, nil
}

// HASSH is the fingerprint of a client's lists (github.com/salesforce/hassh).
func (k *KexInit) HASSH() string {
	return k.hash(k.CipherToServer, k.MACToServer, k.CompToServer)
}

// HASSHServer is the fingerprint of a server's lists.
func (k *KexInit) HASSHServer() string {
	return k.hash(k.CipherToClient, k.MACToClient, k.CompToClient)
}

func (k *KexInit) hash(lists ...[]string) string {
	s := strings.Join(k.Kex, ",")
	for _, l := range lists {
		s += ";" + strings.Join(l, ",")
	}
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Choose returns the client's first algorithm that the server has too.
func Choose(client, server []string) string {
	for _, c := range client {
		for _, s := range server {
			if c == s {
				return c
			}
		}
	}
	return "Algorithm negotiation failed"
}
