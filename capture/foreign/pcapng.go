package foreign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strings"

	"github.com/xentape/xentape/format"
)

// pcapng: draft-ietf-opsawg-pcapng.
const (
	pcapngMagic    = "\x0a\x0d\x0d\x0a"
	pcapngOrder    = 0x1a2b3c4d
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacketOld = 2
	blockSimple    = 3
	blockStats     = 5
	blockPacket    = 6
	blockSecrets   = 10
	minBlock       = 12
	maxInterfaces  = 1 << 16
	maxSecrets     = 1 << 24
	maxPassedOver  = 16 << 20 // bytes of a block that is not looked into
)

// Options, by the block they belong to.
const (
	optComment      = 1
	optIfName       = 2
	optIfDesc       = 3
	optIfResolution = 9
	optIfOffset     = 14
	optEpbFlags     = 2
	optEpbDropped   = 4
	optIsbIfDrop    = 5
	optIsbOSDrop    = 7
)

type pcapngFile struct {
	p       *Packets
	big     bool
	first   int // index of the section's first interface
	section int64
	secrets int
}

func (p *Packets) openPcapng() error {
	f := &pcapngFile{p: p}
	h := p.w.need(28)
	if len(h) < 28 {
		return fmt.Errorf("pcapng section header: %w", errors.Join(io.ErrUnexpectedEOF, p.w.ending()))
	}
	if binary.LittleEndian.Uint32(h[8:]) != pcapngOrder && binary.BigEndian.Uint32(h[8:]) != pcapngOrder {
		return fmt.Errorf("pcapng byte-order magic %#x", h[8:12])
	}
	p.next = f.next
	return nil
}

func (f *pcapngFile) u32(b []byte) uint32 {
	if f.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (f *pcapngFile) u16(b []byte) uint16 {
	if f.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (f *pcapngFile) u64(b []byte) uint64 {
	if f.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// next reads blocks up to one that is a packet, or damage to report.
func (f *pcapngFile) next() error {
	p := f.p
	for {
		h := p.w.need(minBlock)
		if len(h) < minBlock {
			if len(h) == 0 && p.w.ending() == nil {
				return io.EOF
			}
			return p.truncated(p.w.off, "a block header")
		}
		kind := f.u32(h)
		if kind == blockSection {
			f.order(h)
		}
		length := f.u32(h[4:])
		if length < minBlock || length%4 != 0 || length > maxBlock(kind) {
			if done, err := f.resync(fmt.Sprintf("block type %#x of %d bytes", kind, length)); done {
				return err
			}
			return nil
		}
		if length > windowSize {
			if err := f.pass(kind, length); err != nil || p.lost != nil {
				return err
			}
			continue
		}
		b := p.w.need(int(length))
		if len(b) < int(length) {
			return p.truncated(p.w.off, fmt.Sprintf("a block of %d bytes", length))
		}
		if end := f.u32(b[length-4:]); end != length {
			if done, err := f.resync(fmt.Sprintf("block type %#x: lengths %d and %d", kind, length, end)); done {
				return err
			}
			return nil
		}
		off := p.w.off
		p.w.skip(int(length))
		if packet := f.block(kind, b[8:length-4], off); packet || p.lost != nil {
			return nil
		}
	}
}

// maxBlock bounds a block's length: packets and interfaces fit the window, what
// is only passed over may be larger.
func maxBlock(kind uint32) uint32 {
	switch kind {
	case blockSection, blockInterface, blockPacket, blockPacketOld, blockSimple, blockStats:
		return windowSize
	}
	return maxPassedOver
}

// pass moves past a block too large for the window.
func (f *pcapngFile) pass(kind, length uint32) error {
	p := f.p
	from := p.w.off
	if !p.w.discard(int64(length - 4)) {
		return p.truncated(from, "a block")
	}
	end := p.w.need(4)
	if len(end) < 4 {
		return p.truncated(from, "a block")
	}
	if f.u32(end) != length {
		p.damaged(from, "block type %#x: lengths %d and %d", kind, length, f.u32(end))
	}
	p.w.skip(4)
	return nil
}

// order takes a new section's byte order.
func (f *pcapngFile) order(h []byte) {
	switch {
	case binary.LittleEndian.Uint32(h[8:]) == pcapngOrder:
		f.big = false
	case binary.BigEndian.Uint32(h[8:]) == pcapngOrder:
		f.big = true
	}
}

// resync moves to the next place where a block starts and ends as it should.
// Blocks are aligned to 4 bytes from the start of their section.
func (f *pcapngFile) resync(why string) (bool, error) {
	p := f.p
	from := p.w.off
	p.w.skip(4)
	for p.w.off-from < maxResyncBytes {
		b := p.w.need(resyncLook)
		if len(b) < minBlock {
			break
		}
		for i := 0; i < resyncStep && i+minBlock <= len(b); i += 4 {
			if f.plausible(b[i:]) {
				p.w.skip(i)
				p.damaged(from, "%s; passed over %d bytes", why, p.w.off-from)
				return false, nil
			}
		}
		p.w.skip(min(len(b)&^3, resyncStep))
	}
	p.damaged(from, "%s, and no block is found after it", why)
	return true, io.EOF
}

func (f *pcapngFile) plausible(b []byte) bool {
	kind, length := f.u32(b), f.u32(b[4:])
	switch kind {
	case blockSection:
		if o := binary.LittleEndian.Uint32(b[8:]); o != pcapngOrder && bits.ReverseBytes32(o) != pcapngOrder {
			return false
		}
		return true // its length is in its own byte order; next checks it
	case blockInterface, blockPacket, blockPacketOld, blockSimple, blockStats, blockSecrets, 4:
	default:
		return false
	}
	return length >= minBlock && length%4 == 0 && int(length) <= len(b) && f.u32(b[length-4:]) == length
}

// block takes one block's body; it returns true if p.packet is now a packet.
func (f *pcapngFile) block(kind uint32, b []byte, off int64) bool {
	p := f.p
	var err error
	switch kind {
	case blockSection:
		f.first, f.section = len(p.interfaces), off
	case blockInterface:
		err = f.interfaceBlock(b)
	case blockPacket, blockPacketOld:
		err = f.packetBlock(kind, b)
		if err == nil {
			return true
		}
	case blockSimple:
		err = f.simpleBlock(b)
		if err == nil {
			return true
		}
	case blockStats:
		f.statsBlock(b)
	case blockSecrets:
		f.secretsBlock(b)
	}
	if err != nil {
		p.damaged(off, "%v", err)
	}
	return false
}

// options calls visit for each option in b until one does not fit.
func (f *pcapngFile) options(b []byte, visit func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, n := f.u16(b), int(f.u16(b[2:]))
		if code == 0 || n > len(b)-4 {
			return
		}
		visit(code, b[4:4+n])
		b = b[min(4+(n+3)&^3, len(b)):]
	}
}

func (f *pcapngFile) interfaceBlock(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("interface block of %d bytes", len(b))
	}
	if len(f.p.interfaces) >= maxInterfaces {
		return fmt.Errorf("more than %d interfaces", maxInterfaces)
	}
	i := Interface{LinkType: f.u16(b), SnapLen: f.u32(b[4:]), Resolution: 1e6}
	f.options(b[8:], func(code uint16, v []byte) {
		switch {
		case code == optIfName:
			i.Name = strings.ToValidUTF8(string(v), "\uFFFD")
		case code == optIfDesc:
			i.Description = strings.ToValidUTF8(string(v), "\uFFFD")
		case code == optIfResolution && len(v) == 1:
			i.Resolution = resolution(v[0])
		case code == optIfOffset && len(v) == 8:
			i.offset = int64(f.u64(v))
		}
	})
	f.p.interfaces = append(f.p.interfaces, i)
	return nil
}

// resolution turns if_tsresol into units a second; 0 where they do not fit 64 bits.
func resolution(v byte) uint64 {
	if v&0x80 != 0 {
		if v&0x7f > 63 {
			return 0
		}
		return 1 << (v & 0x7f)
	}
	if v > 19 {
		return 0
	}
	r := uint64(1)
	for range v {
		r *= 10
	}
	return r
}

// maxSeconds is the last second that nanoseconds since 1970 in 63 bits reach.
const maxSeconds = math.MaxInt64/1_000_000_000 - 1

// time turns a time stamp of interface i into nanoseconds since 1970; ok is
// false when it does not fit.
func (i *Interface) time(ts uint64) (int64, bool) {
	if i.Resolution == 0 {
		return 0, false
	}
	var sec, ns uint64
	switch i.Resolution {
	case 1e9:
		sec, ns = ts/1e9, ts%1e9
	case 1e6:
		sec, ns = ts/1e6, ts%1e6*1000
	default:
		sec = ts / i.Resolution
		hi, lo := bits.Mul64(ts%i.Resolution, 1e9)
		ns, _ = bits.Div64(hi, lo, i.Resolution)
	}
	if sec > maxSeconds || i.offset > maxSeconds || i.offset < -maxSeconds {
		return 0, false
	}
	sum := int64(sec) + i.offset
	if sum > maxSeconds {
		return 0, false
	}
	return sum*1e9 + int64(ns), true
}

// packetBlock reads an Enhanced Packet Block, or the Packet Block it replaced.
func (f *pcapngFile) packetBlock(kind uint32, b []byte) error {
	if len(b) < 20 {
		return fmt.Errorf("packet block of %d bytes", len(b))
	}
	p := f.p
	index, dropped := int64(f.u32(b)), uint64(0)
	if kind == blockPacketOld {
		index = int64(f.u16(b))
		if d := f.u16(b[2:]); d != 0xffff {
			dropped = uint64(d)
		}
	}
	index += int64(f.first)
	if index >= int64(len(p.interfaces)) {
		return fmt.Errorf("packet of interface %d, of which there are %d", index, len(p.interfaces))
	}
	captured := f.u32(b[12:])
	if captured > uint32(len(b)-20) {
		return fmt.Errorf("packet of %d bytes in a block of %d", captured, len(b)-20)
	}
	i := &p.interfaces[index]
	ts := uint64(f.u32(b[4:]))<<32 | uint64(f.u32(b[8:]))
	p.packet = format.Packet{
		LinkType: i.LinkType, OrigLen: f.u32(b[16:]), Data: b[20 : 20+captured : 20+captured],
	}
	p.packet.Stream = format.StreamID(index + 1)
	f.stamp(i, ts)
	if rest := b[min(20+(int(captured)+3)&^3, len(b)):]; len(rest) >= 4 {
		dropped += f.packetOptions(rest)
	}
	i.Dropped = addClamped(i.Dropped, dropped)
	return nil
}

func (f *pcapngFile) stamp(i *Interface, ts uint64) {
	k := &f.p.packet
	t, ok := i.time(ts)
	k.Time, k.Uncertainty = t, math.MaxUint32
	if ok {
		k.Uncertainty = uint32(min((1e9-1)/i.Resolution, math.MaxUint32-1))
	}
}

// packetOptions takes direction and comments; it returns epb_dropcount.
func (f *pcapngFile) packetOptions(b []byte) (dropped uint64) {
	k := &f.p.packet
	f.options(b, func(code uint16, v []byte) {
		switch {
		case code == optComment && k.Comment == "":
			k.Comment = strings.ToValidUTF8(string(v), "\uFFFD")
		case code == optComment:
			k.Comment += "\n" + strings.ToValidUTF8(string(v), "\uFFFD")
		case code == optEpbFlags && len(v) == 4:
			switch f.u32(v) & 3 { // as seen from the machine that captured, taken for the guest
			case 1:
				k.Direction = format.ToGuest
			case 2:
				k.Direction = format.FromGuest
			}
		case code == optEpbDropped && len(v) == 8:
			dropped = f.u64(v)
		}
	})
	return dropped
}

func addClamped(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return format.Unknown
}

// simpleBlock reads a Simple Packet Block: no time, the section's first interface.
func (f *pcapngFile) simpleBlock(b []byte) error {
	p := f.p
	if len(b) < 4 || f.first >= len(p.interfaces) {
		return fmt.Errorf("simple packet block of %d bytes, %d interfaces", len(b), len(p.interfaces)-f.first)
	}
	i := &p.interfaces[f.first]
	original := f.u32(b)
	n := uint32(len(b) - 4)
	if i.SnapLen > 0 {
		n = min(n, i.SnapLen)
	}
	n = min(n, original)
	p.packet = format.Packet{LinkType: i.LinkType, OrigLen: original, Data: b[4 : 4+n : 4+n]}
	p.packet.Stream, p.packet.Uncertainty = format.StreamID(f.first+1), math.MaxUint32
	return nil
}

// statsBlock takes an interface's count of lost packets, which is cumulative.
func (f *pcapngFile) statsBlock(b []byte) {
	if len(b) < 12 {
		return
	}
	index := int64(f.first) + int64(f.u32(b))
	if index >= int64(len(f.p.interfaces)) {
		return
	}
	var dropped uint64
	f.options(b[12:], func(code uint16, v []byte) {
		if (code == optIsbIfDrop || code == optIsbOSDrop) && len(v) == 8 {
			dropped = addClamped(dropped, f.u64(v))
		}
	})
	i := &f.p.interfaces[index]
	i.Dropped = max(i.Dropped, dropped)
}

func (f *pcapngFile) secretsBlock(b []byte) {
	if len(b) < 8 {
		return
	}
	n := f.u32(b[4:])
	if n > uint32(len(b)-8) || f.secrets+int(n) > maxSecrets {
		return
	}
	f.secrets += int(n)
	f.p.secrets = append(f.p.secrets, Secrets{f.u32(b), append([]byte(nil), b[8:8+n]...)})
}
