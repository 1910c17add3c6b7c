package packet

import "encoding/binary"

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// TCP is a decoded TCP header.
type TCP struct {
	Src, Dst uint16
	Seq, Ack uint32
	Window   uint16
	Flags    uint8
	Header   int // bytes, options included
}

// DecodeTCP decodes the header of segment b, of which wire bytes existed.
func DecodeTCP(t *TCP, b []byte, wire int) Reason {
	if len(b) < 20 {
		return Truncated
	}
	t.Src, t.Dst = Ports(b)
	t.Seq, t.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	t.Header, t.Flags = int(b[12]>>4)*4, b[13]
	t.Window = binary.BigEndian.Uint16(b[14:])
	switch {
	case t.Header < 20:
		return BadHeader
	case t.Header > len(b) || t.Header > wire:
		return Truncated
	}
	return OK
}

// Ports returns the first two 16-bit fields of a transport header.
func Ports(b []byte) (src, dst uint16) {
	return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
}
