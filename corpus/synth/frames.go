package synth

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/xentape/xentape/format"
)

var (
	guestMAC = [6]byte{0x00, 0x16, 0x3e, 0, 0, 1}
	otherMAC = [6]byte{0x00, 0x16, 0x3e, 0xff, 0xff, 0xff}
)

const linkEthernet = 1

// flags of a TCP segment (RFC 9293 section 3.1).
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

// wire makes the packets of conversations.
type wire struct {
	guest netip.Addr
	ports uint16 // given out so far
	add   func(at time.Duration, p *format.Packet)
}

// frame puts a transport header and payload into IPv4 (RFC 791) and Ethernet.
func (w *wire) frame(at time.Duration, from, to netip.Addr, proto byte, transport []byte) {
	b := make([]byte, 14+20, 14+20+len(transport))
	src, dst, direction := otherMAC, guestMAC, format.ToGuest
	if from == w.guest {
		src, dst, direction = guestMAC, otherMAC, format.FromGuest
	}
	copy(b[0:], dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:34]
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(transport)))
	f4, t4 := from.As4(), to.As4()
	copy(ip[12:], f4[:])
	copy(ip[16:], t4[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
	pseudo := append(append([]byte{}, ip[12:20]...), 0, proto, byte(len(transport)>>8), byte(len(transport)))
	at16 := map[byte]int{6: 16, 17: 6}[proto]
	binary.BigEndian.PutUint16(transport[at16:], checksum(sum(0, pseudo), transport))
	b = append(b, transport...)
	w.add(at, &format.Packet{LinkType: linkEthernet, Direction: direction, OrigLen: uint32(len(b)), Data: b})
}

// sum adds up 16-bit words (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func checksum(s uint32, b []byte) uint16 {
	s = sum(s, b)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func (w *wire) port() uint16 {
	w.ports++
	return 40000 + w.ports
}

// talk is one TCP connection being made.
type talk struct {
	w        *wire
	at, step time.Duration
	ends     [2]netip.AddrPort // originator, responder
	seq      [2]uint32
}

func (k *talk) segment(side int, flags byte, data []byte) {
	h := make([]byte, 20, 20+len(data))
	binary.BigEndian.PutUint16(h[0:], k.ends[side].Port())
	binary.BigEndian.PutUint16(h[2:], k.ends[1-side].Port())
	binary.BigEndian.PutUint32(h[4:], k.seq[side])
	if flags&ack != 0 {
		binary.BigEndian.PutUint32(h[8:], k.seq[1-side])
	}
	h[12], h[13] = 5<<4, flags
	binary.BigEndian.PutUint16(h[14:], 65535)
	k.w.frame(k.at, k.ends[side].Addr(), k.ends[1-side].Addr(), 6, append(h, data...))
	k.seq[side] += uint32(len(data))
	if flags&(syn|fin) != 0 {
		k.seq[side]++
	}
	k.at += k.step
}

// mss is how much of a text goes into one segment.
const mss = 1460

func (w *wire) tcp(at time.Duration, e *TCPEvent) error {
	from := e.From
	if !from.IsValid() {
		from = netip.AddrPortFrom(w.guest, w.port())
	}
	if !from.Addr().Is4() || !e.To.IsValid() || !e.To.Addr().Is4() || from.Addr() != w.guest && e.To.Addr() != w.guest {
		return fmt.Errorf("tcp %s to %s: want IPv4 addresses, one of them the guest's", from, e.To)
	}
	k := &talk{w: w, at: at, step: time.Duration(e.Step), ends: [2]netip.AddrPort{from, e.To}, seq: [2]uint32{1000, 5000}}
	if k.step == 0 {
		k.step = time.Millisecond
	}
	guest := 0
	if e.To.Addr() == w.guest {
		guest = 1
	}
	k.segment(0, syn, nil)
	if e.Reset {
		k.segment(1, rst|ack, nil)
		return nil
	}
	k.segment(1, syn|ack, nil)
	k.segment(0, ack, nil)
	for _, line := range e.Say {
		side := guest
		switch {
		case strings.HasPrefix(line, "<"):
			side = 1 - guest
		case !strings.HasPrefix(line, ">"):
			return fmt.Errorf("tcp: %q: a line begins with > (the guest) or < (the other side)", line)
		}
		for text := []byte(line[1:]); len(text) > 0; {
			n := min(len(text), mss)
			k.segment(side, psh|ack, text[:n])
			k.segment(1-side, ack, nil)
			text = text[n:]
		}
	}
	if !e.Open {
		k.segment(0, fin|ack, nil)
		k.segment(1, fin|ack, nil)
		k.segment(0, ack, nil)
	}
	return nil
}

func (w *wire) http(at time.Duration, e *HTTPEvent, path func(string) string) error {
	body := e.Body
	if e.File != "" {
		b, err := os.ReadFile(path(e.File))
		if err != nil {
			return err
		}
		body = string(b)
	}
	status, kind := e.Status, e.Type
	if status == 0 {
		status = 200
	}
	if kind == "" {
		kind = "application/octet-stream"
	}
	return w.tcp(at, &TCPEvent{To: e.Server, Say: []string{
		fmt.Sprintf(">GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Wget\r\nConnection: close\r\n\r\n", e.Get, e.Host),
		fmt.Sprintf("<HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, kind, len(body), body),
	}})
}

// dns makes a question for an A record and its answer (RFC 1035 section 4).
func (w *wire) dns(at time.Duration, e *DNSEvent) error {
	q := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	port := w.port()
	binary.BigEndian.PutUint16(q, port)
	for _, label := range strings.Split(strings.TrimSuffix(e.Ask, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return fmt.Errorf("dns: %q: a label of %d bytes", e.Ask, len(label))
		}
		q = append(append(q, byte(len(label))), label...)
	}
	q = append(q, 0, 0, 1, 0, 1)
	if !e.Server.Is4() || len(q) > 512 {
		return fmt.Errorf("dns: %q: want an IPv4 server and a short name", e.Ask)
	}
	r := append([]byte{}, q...)
	r[2], r[3] = 0x81, 0x80
	if e.Answer.IsValid() {
		a := e.Answer.As4()
		r[7] = 1
		r = append(append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4), a[:]...)
	} else {
		r[3] |= 3
	}
	w.udp(at, netip.AddrPortFrom(w.guest, port), netip.AddrPortFrom(e.Server, 53), q)
	w.udp(at+time.Millisecond, netip.AddrPortFrom(e.Server, 53), netip.AddrPortFrom(w.guest, port), r)
	return nil
}

func (w *wire) udp(at time.Duration, from, to netip.AddrPort, data []byte) {
	h := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint16(h[0:], from.Port())
	binary.BigEndian.PutUint16(h[2:], to.Port())
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(data)))
	w.frame(at, from.Addr(), to.Addr(), 17, append(h, data...))
}
