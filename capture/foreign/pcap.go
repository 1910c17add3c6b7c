package foreign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The classic pcap format: draft-ietf-opsawg-pcap, and libpcap's sf-pcap.c for
// what its readers accept beyond it.
const (
	pcapHeaderSize   = 24
	pcapRecordSize   = 16
	pcapMicros       = 0xa1b2c3d4
	pcapNanos        = 0xa1b23c4d
	pcapKuznetsov    = 0xa1b2cd34 // Alexey Kuznetsov's libpcap: 8 more bytes a record
	pcapNavtel       = 0xa12b3c4d // Navtel's, with the same records
	maxPcapPacket    = windowSize - 64
	navtelMajor      = 543 // NAI's version, lengths swapped as before 2.3
	maxResyncBytes   = 1 << 30
	resyncLook       = windowSize / 2 // bytes seen at once while looking for the next record
	resyncStep       = resyncLook / 2 // of which may start it, so that it lies in what is seen
	resyncFarSeconds = 86400          // a record found by scanning lies within a day of the last good one
)

type pcapFile struct {
	p       *Packets
	big     bool
	extra   int   // bytes of the record header beyond 16
	scale   int64 // nanoseconds of a unit of the fraction
	swapped int   // 1: caplen and len are exchanged; 2: perhaps
	last    uint32
	seen    bool
}

func (p *Packets) openPcap() error {
	h := p.w.need(pcapHeaderSize)
	if len(h) < pcapHeaderSize {
		return fmt.Errorf("pcap header: %w", errors.Join(io.ErrUnexpectedEOF, p.w.ending()))
	}
	f := &pcapFile{p: p, scale: 1000}
	magic := binary.LittleEndian.Uint32(h)
	if !f.magic(magic) {
		f.big = true
		if !f.magic(binary.BigEndian.Uint32(h)) {
			return fmt.Errorf("neither pcap nor pcapng: first bytes %#x", h[:4])
		}
	}
	major, minor := f.u16(h[4:]), f.u16(h[6:])
	switch {
	case major == 2 && minor < 3 || major == navtelMajor:
		f.swapped = 1
	case major == 2 && minor == 3:
		f.swapped = 2
	}
	// The upper bits of the link type tell of frame check sequences.
	p.interfaces = []Interface{{
		LinkType: uint16(f.u32(h[20:])), SnapLen: f.u32(h[16:]), Resolution: uint64(1e9 / f.scale),
	}}
	p.packet.LinkType = p.interfaces[0].LinkType
	p.packet.Uncertainty = uint32(f.scale - 1)
	p.w.skip(pcapHeaderSize)
	p.next = f.next
	return nil
}

func (f *pcapFile) magic(m uint32) bool {
	switch m {
	case pcapMicros:
	case pcapNanos:
		f.scale = 1
	case pcapKuznetsov, pcapNavtel:
		f.extra = 8
	default:
		return false
	}
	return true
}

func (f *pcapFile) u32(b []byte) uint32 {
	if f.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (f *pcapFile) u16(b []byte) uint16 {
	if f.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// pcapRecord is one record header.
type pcapRecord struct {
	sec, frac, captured, original uint32
}

func (f *pcapFile) record(b []byte) pcapRecord {
	r := pcapRecord{f.u32(b), f.u32(b[4:]), f.u32(b[8:]), f.u32(b[12:])}
	if f.swapped == 1 || f.swapped == 2 && r.captured > r.original {
		r.captured, r.original = r.original, r.captured
	}
	return r
}

func (f *pcapFile) next() error {
	p := f.p
	size := pcapRecordSize + f.extra
	b := p.w.need(size)
	if len(b) < size {
		if len(b) == 0 && p.w.ending() == nil {
			return io.EOF
		}
		return p.truncated(p.w.off, "a record header")
	}
	r := f.record(b)
	if r.captured > maxPcapPacket {
		return f.resync(r)
	}
	total := size + int(r.captured)
	b = p.w.need(total)
	if len(b) < total {
		return p.truncated(p.w.off, fmt.Sprintf("a packet of %d bytes", r.captured))
	}
	f.last, f.seen = r.sec, true
	p.packet.Stream = 1
	p.packet.Time = int64(r.sec)*1e9 + int64(r.frac)*f.scale
	p.packet.OrigLen = r.original
	p.packet.Data = b[size:total:total]
	p.w.skip(total)
	return nil
}

// resync passes over a damaged stretch. pcap has no marks to find a record by,
// so the next one is the first place where two headers in a row make sense.
func (f *pcapFile) resync(bad pcapRecord) error {
	p := f.p
	from := p.w.off
	if !f.seen {
		return fmt.Errorf("first packet claims %d bytes, more than %d", bad.captured, maxPcapPacket)
	}
	p.w.skip(1)
	for p.w.off-from < maxResyncBytes {
		b := p.w.need(resyncLook)
		if len(b) < pcapRecordSize+f.extra {
			break
		}
		n := min(len(b), resyncStep)
		for i := range n {
			if f.plausible(b[i:], len(b) < resyncLook) {
				p.w.skip(i)
				p.damaged(from, "a packet claims %d bytes; passed over %d bytes", bad.captured, p.w.off-from)
				return nil
			}
		}
		p.w.skip(n)
	}
	p.damaged(from, "a packet claims %d bytes, and no record is found after it", bad.captured)
	return io.EOF
}

// plausible says whether a record starts at b and another follows it; last tells
// that b reaches the end of the file.
func (f *pcapFile) plausible(b []byte, last bool) bool {
	size := pcapRecordSize + f.extra
	for i := range 2 {
		if len(b) == 0 && i > 0 {
			return last
		}
		if len(b) < size {
			return false
		}
		r := f.record(b)
		limit := uint32(resyncStep / 4)
		if s := f.p.interfaces[0].SnapLen; s > 0 {
			limit = min(limit, max(s, 1<<16))
		}
		far := int64(r.sec) - int64(f.last)
		if r.captured == 0 || r.captured > limit || r.original < r.captured || r.original > 1<<24 ||
			int64(r.frac)*f.scale >= 1e9 || far < -resyncFarSeconds || far > resyncFarSeconds {
			return false
		}
		if len(b) < size+int(r.captured) {
			return false
		}
		b = b[size+int(r.captured):]
	}
	return true
}
