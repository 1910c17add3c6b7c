// Package quic reads what a QUIC connection shows an observer: packet headers,
// and the Initial packets, whose keys follow from a connection ID (RFC 9000, RFC
// 9001, RFC 9369).
package quic

import (
	"encoding/binary"
	"errors"
)

// Type is a packet's type.
type Type uint8

// The packet types.
const (
	Initial Type = iota
	ZeroRTT
	Handshake
	Retry
	Short
	Unknown // a long header of a version not known
)

// Versions with keys known here.
const (
	Version1 = 0x00000001
	Version2 = 0x6b3343cf
)

// MaxCID bounds a connection ID, bytes (RFC 9000 §17.2).
const MaxCID = 20

// ErrMalformed is returned for a packet that contradicts itself.
var ErrMalformed = errors.New("quic: malformed packet")

// Packet is one packet of a datagram. Slices point into the datagram.
type Packet struct {
	Type       Type
	Version    uint32
	DCID, SCID []byte
	Whole      []byte // from its first byte to its last
	number     int    // offset of the protected packet number
}

// known reports whether a version has the long header layout of RFC 9000.
func known(v uint32) bool {
	return v == Version1 || v == Version2 || v >= 0xff000016 && v <= 0xff000022 ||
		v&0xffffff00 == 0xfaceb000
}

// Next takes the first packet off a datagram and returns the rest.
func Next(b []byte) (p Packet, rest []byte, err error) {
	if len(b) == 0 {
		return p, nil, ErrMalformed
	}
	if b[0]&0x80 == 0 {
		return Packet{Type: Short, Whole: b}, nil, nil // takes the rest of the datagram
	}
	if len(b) < 7 {
		return p, nil, ErrMalformed
	}
	p.Version = binary.BigEndian.Uint32(b[1:])
	off := 5
	for _, id := range []*[]byte{&p.DCID, &p.SCID} {
		if off >= len(b) || off+1+int(b[off]) > len(b) {
			return p, nil, ErrMalformed
		}
		n := int(b[off])
		*id = b[off+1 : off+1+n]
		off += 1 + n
	}
	if !known(p.Version) {
		p.Type, p.Whole = Unknown, b
		return p, nil, nil
	}
	if len(p.DCID) > MaxCID || len(p.SCID) > MaxCID {
		return p, nil, ErrMalformed
	}
	bits := b[0] >> 4 & 3
	if p.Version == Version2 {
		bits = (bits + 3) & 3 // RFC 9369 §3.2 turns the numbers round by one
	}
	p.Type = Type(bits)
	if p.Type == Retry {
		p.Whole = b
		return p, nil, nil
	}
	if p.Type == Initial {
		n, size, ok := Varint(b[off:])
		if !ok || n > uint64(len(b)-off-size) {
			return p, nil, ErrMalformed
		}
		off += size + int(n)
	}
	n, size, ok := Varint(b[off:])
	if !ok || n > uint64(len(b)-off-size) {
		return p, nil, ErrMalformed
	}
	p.number = off + size
	end := p.number + int(n)
	p.Whole = b[:end]
	return p, b[end:], nil
}

// Varint reads a variable-length integer (RFC 9000 §16).
func Varint(b []byte) (v uint64, size int, ok bool) {
	if len(b) == 0 {
		return 0, 0, false
	}
	size = 1 << (b[0] >> 6)
	if len(b) < size {
		return 0, 0, false
	}
	v = uint64(b[0] & 0x3f)
	for _, c := range b[1:size] {
		v = v<<8 | uint64(c)
	}
	return v, size, true
}
