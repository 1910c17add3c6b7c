package network

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/xentape/xentape/format"
)

// readCapture calls yield for each packet of a pcap or pcapng file, as records
// of stream 1. It goes on as far as the file can be read.
func readCapture(b []byte, yield func(*format.Packet)) error {
	if len(b) < 4 {
		return io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(b) == 0x0a0d0d0a {
		return readPcapng(b, yield)
	}
	return readPcap(b, yield)
}

// readPcapng reads sections, interfaces and packets; other blocks are skipped.
func readPcapng(b []byte, yield func(*format.Packet)) error {
	type iface struct {
		link uint16
		unit int64 // ns per tick; 0 when ticks are finer
		frac int64 // ticks per ns
	}
	var order binary.ByteOrder = binary.LittleEndian
	var ifaces []iface
	seq := uint64(0)
	for len(b) >= 12 {
		if binary.LittleEndian.Uint32(b) == 0x0a0d0d0a {
			order, ifaces = binary.LittleEndian, nil
			if binary.BigEndian.Uint32(b[8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		typ, n := order.Uint32(b), order.Uint32(b[4:])
		if n < 12 || uint64(n) > uint64(len(b)) {
			return io.ErrUnexpectedEOF
		}
		body := b[8 : n-4]
		b = b[n:]
		p := format.Packet{}
		switch {
		case typ == 1 && len(body) >= 8:
			unit, frac := resolution(order, body[8:])
			ifaces = append(ifaces, iface{order.Uint16(body), unit, frac})
			continue
		case typ == 6 && len(body) >= 20 && int(order.Uint32(body)) < len(ifaces):
			i := ifaces[order.Uint32(body)]
			size := int(order.Uint32(body[12:]))
			if size > len(body)-20 {
				continue
			}
			p.Time = int64(uint64(order.Uint32(body[4:]))<<32|uint64(order.Uint32(body[8:]))) * i.unit / i.frac
			p.LinkType, p.OrigLen, p.Data = i.link, order.Uint32(body[16:]), body[20:20+size]
		case typ == 3 && len(body) >= 4 && len(ifaces) > 0:
			p.OrigLen = order.Uint32(body)
			p.LinkType, p.Data = ifaces[0].link, body[4:4+min(int(p.OrigLen), len(body)-4)]
		default:
			continue
		}
		seq++
		p.Seq, p.Stream = seq, 1
		yield(&p)
	}
	return nil
}

// resolution reads if_tsresol among an interface's options: ns per tick, and ticks
// per ns where they are finer.
func resolution(order binary.ByteOrder, o []byte) (unit, frac int64) {
	unit, frac = 1000, 1
	for len(o) >= 4 {
		code, size := order.Uint16(o), int(order.Uint16(o[2:]))
		if size > len(o)-4 {
			return unit, frac
		}
		if code == 9 && size == 1 {
			unit = 1
			for e := o[4]; e < 9; e++ {
				unit *= 10
			}
			for e := byte(9); e < o[4] && e < 18; e++ {
				frac *= 10
			}
		}
		o = o[min(len(o), 4+(size+3)&^3):]
	}
	return unit, frac
}

// readPcap walks the record headers and goes on after a record
// longer than the snap length, as libpcap does.
func readPcap(b []byte, yield func(*format.Packet)) error {
	if len(b) < 24 {
		return io.ErrUnexpectedEOF
	}
	var order binary.ByteOrder = binary.LittleEndian
	unit := int64(1000)
	switch m := binary.LittleEndian.Uint32(b); m {
	case 0xa1b2c3d4:
	case 0xa1b23c4d:
		unit = 1
	default:
		order = binary.BigEndian
		switch binary.BigEndian.Uint32(b) {
		case 0xa1b2c3d4:
		case 0xa1b23c4d:
			unit = 1
		default:
			return fmt.Errorf("not a capture file: magic %08x", m)
		}
	}
	link := uint16(order.Uint32(b[20:]))
	p := format.Packet{LinkType: link}
	for off, seq := 24, uint64(1); off+16 <= len(b); seq++ {
		n := int(order.Uint32(b[off+8:]))
		if n < 0 || n > len(b)-off-16 {
			return io.ErrUnexpectedEOF
		}
		p.Stamp = format.Stamp{Seq: seq, Stream: 1,
			Time: int64(order.Uint32(b[off:]))*1e9 + int64(order.Uint32(b[off+4:]))*unit}
		p.OrigLen, p.Data = order.Uint32(b[off+12:]), b[off+16:off+16+n]
		yield(&p)
		off += 16 + n
	}
	return nil
}
