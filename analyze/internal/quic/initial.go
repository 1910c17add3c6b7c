package quic

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Initial salts (RFC 9001 §5.2, RFC 9369 §3.3.1, and the drafts before).
var (
	salt1     = []byte{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a}
	salt2     = []byte{0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9}
	saltDraft = []byte{0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0, 0x43, 0x90, 0xa8, 0x99} // drafts 29 to 32
	saltOld   = []byte{0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65, 0xbe, 0xf9, 0xf5, 0x02} // drafts 23 to 28
)

// Keys protect the Initial packets of one direction.
type Keys struct {
	aead cipher.AEAD
	iv   []byte
	hp   cipher.Block
}

// InitialKeys derives the keys of both directions from the destination
// connection ID of the client's first Initial packet.
func InitialKeys(version uint32, dcid []byte) (client, server *Keys, err error) {
	salt, prefix := salt1, "quic "
	switch {
	case version == Version2:
		salt, prefix = salt2, "quicv2 "
	case version >= 0xff00001d && version <= 0xff000020:
		salt = saltDraft
	case version >= 0xff000017 && version <= 0xff00001c:
		salt = saltOld
	}
	secret, err := hkdf.Extract(sha256.New, dcid, salt)
	if err != nil {
		return nil, nil, err
	}
	if client, err = newKeys(secret, "client in", prefix); err != nil {
		return nil, nil, err
	}
	server, err = newKeys(secret, "server in", prefix)
	return client, server, err
}

func newKeys(secret []byte, label, prefix string) (*Keys, error) {
	side, err := expand(secret, label, 32)
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	var parts [3][]byte
	for i, l := range []struct {
		name string
		n    int
	}{{"key", 16}, {"iv", 12}, {"hp", 16}} {
		if parts[i], err = expand(side, prefix+l.name, l.n); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(parts[0])
	if err != nil {
		return nil, err
	}
	k.iv = parts[1]
	if k.hp, err = aes.NewCipher(parts[2]); err != nil {
		return nil, err
	}
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// expand is HKDF-Expand-Label of TLS 1.3 with an empty context (RFC 8446 §7.1).
func expand(secret []byte, label string, n int) ([]byte, error) {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(6+len(label)))
	info = append(append(info, "tls13 "...), label...)
	return hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
}

// Open takes the protection off an Initial packet and returns its frames.
func (k *Keys) Open(p *Packet) ([]byte, error) {
	if p.Type != Initial || len(p.Whole) < p.number+4+16 {
		return nil, ErrMalformed
	}
	var mask [16]byte
	k.hp.Encrypt(mask[:], p.Whole[p.number+4:p.number+20])
	first := p.Whole[0] ^ mask[0]&0x0f
	size := int(first&3) + 1
	header := slices.Clone(p.Whole[:p.number+size])
	header[0] = first
	number := uint64(0)
	for i := range size {
		header[p.number+i] ^= mask[1+i]
		number = number<<8 | uint64(header[p.number+i])
	}
	nonce := slices.Clone(k.iv)
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(number >> (8 * i))
	}
	return k.aead.Open(nil, nonce, p.Whole[p.number+size:], header)
}

// Frame types met in Initial packets.
const (
	framePadding         = 0x00
	framePing            = 0x01
	frameAck             = 0x02
	frameAckECN          = 0x03
	frameCrypto          = 0x06
	frameConnectionClose = 0x1c
	frameAppClose        = 0x1d
)

// Frames walks the frames of an opened packet: crypto is called for each piece
// of the handshake stream. closed says that the sender closes the connection.
func Frames(b []byte, crypto func(offset uint64, data []byte)) (closed bool, err error) {
	var v [4]uint64
	ints := func(n int) bool {
		for i := range n {
			x, size, ok := Varint(b)
			if !ok {
				return false
			}
			v[i], b = x, b[size:]
		}
		return true
	}
	for len(b) > 0 {
		typ := b[0]
		b = b[1:]
		switch typ {
		case framePadding, framePing:
		case frameAck, frameAckECN:
			if !ints(4) {
				return closed, ErrMalformed
			}
			for range min(v[2], uint64(len(b))) {
				if !ints(2) {
					return closed, ErrMalformed
				}
			}
			if typ == frameAckECN && !ints(3) {
				return closed, ErrMalformed
			}
		case frameCrypto:
			if !ints(2) || v[1] > uint64(len(b)) {
				return closed, ErrMalformed
			}
			crypto(v[0], b[:v[1]])
			b = b[v[1]:]
		case frameConnectionClose, frameAppClose:
			return true, nil
		default:
			return closed, ErrMalformed
		}
	}
	return closed, nil
}

// maxCrypto bounds the handshake stream of one direction in Initial packets.
const maxCrypto = 64 << 10

// Stream puts the pieces of a handshake stream in order.
type Stream struct {
	data  []byte
	known []bool
	whole int // bytes from the beginning without a hole
}

// Add takes a piece; bytes that are there already stay as they are.
func (s *Stream) Add(offset uint64, b []byte) {
	if offset > maxCrypto || uint64(len(b)) > maxCrypto-offset {
		return
	}
	end := int(offset) + len(b)
	if end > len(s.data) {
		s.data = append(s.data, make([]byte, end-len(s.data))...)
		s.known = append(s.known, make([]bool, end-len(s.known))...)
	}
	for i, c := range b {
		if at := int(offset) + i; !s.known[at] {
			s.data[at], s.known[at] = c, true
		}
	}
	for s.whole < len(s.known) && s.known[s.whole] {
		s.whole++
	}
}

// Bytes returns the stream up to its first hole.
func (s *Stream) Bytes() []byte { return s.data[:s.whole] }
