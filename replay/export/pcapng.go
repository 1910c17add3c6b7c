package export

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/xentape/xentape/format"
)

// Block types and options of pcapng (draft-ietf-opsawg-pcapng). pcapgo's
// NgWriter writes no packet options, and direction, drops and the process that
// sent a packet are what this export is for; hence a writer of its own.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6
	blockStats     = 5
	byteOrderMagic = 0x1a2b3c4d

	optEnd       = 0
	optComment   = 1
	shbUserAppl  = 4
	ifName       = 2
	ifTSResol    = 9
	epbFlags     = 2
	isbStartTime = 2
	isbEndTime   = 3
	isbRecv      = 4
	isbDrop      = 5
)

// Interface describes one capture interface of a pcapng file.
type Interface struct {
	Name     string
	LinkType uint16
	Comment  string // e.g. MAC and bridge
}

// PcapngWriter writes one section of pcapng. Times are ns since 1970 UTC.
type PcapngWriter struct {
	w      *bufio.Writer
	ifaces []ifaceCount
	buf    []byte
}

type ifaceCount struct {
	first, last uint64
	seen        bool
	recv, drop  uint64
}

// NewPcapngWriter starts a section. application names the writer in the file.
func NewPcapngWriter(w io.Writer, application string) (*PcapngWriter, error) {
	p := &PcapngWriter{w: bufio.NewWriterSize(w, 1<<20)}
	b := p.begin(blockSection)
	b = binary.LittleEndian.AppendUint32(b, byteOrderMagic)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0)) // section length not given
	b = option(b, shbUserAppl, []byte(application))
	return p, p.finish(option(b, optEnd, nil))
}

// AddInterface describes an interface and returns its number.
func (p *PcapngWriter) AddInterface(i Interface) (int, error) {
	b := p.begin(blockInterface)
	b = binary.LittleEndian.AppendUint16(b, i.LinkType)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0) // no snap length: GSO frames are longer than any MTU
	b = option(b, ifName, []byte(i.Name))
	if i.Comment != "" {
		b = option(b, optComment, []byte(i.Comment))
	}
	b = option(b, ifTSResol, []byte{9})
	p.ifaces = append(p.ifaces, ifaceCount{})
	return len(p.ifaces) - 1, p.finish(option(b, optEnd, nil))
}

// Drop counts packets of an interface that were lost before they reached the tape.
func (p *PcapngWriter) Drop(iface int, n uint64) { p.ifaces[iface].drop += n }

// Packet writes one packet. A checksum that the guest had left to its virtual
// device (NEEDS_CSUM) is completed, as the device would have done.
func (p *PcapngWriter) Packet(iface int, realtime int64, pk *format.Packet, comments ...string) error {
	c := &p.ifaces[iface]
	ts := uint64(realtime)
	if !c.seen {
		c.first, c.seen = ts, true
	}
	c.last = ts
	c.recv++
	b := p.begin(blockPacket)
	b = binary.LittleEndian.AppendUint32(b, uint32(iface))
	b = binary.LittleEndian.AppendUint32(b, uint32(ts>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(ts))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(pk.Data)))
	b = binary.LittleEndian.AppendUint32(b, max(pk.OrigLen, uint32(len(pk.Data))))
	at := len(b)
	b = append(b, pk.Data...)
	CompleteChecksum(b[at:], pk.VNet)
	b = pad(b)
	if pk.Comment != "" {
		b = option(b, optComment, []byte(pk.Comment))
	}
	for _, s := range comments {
		b = option(b, optComment, []byte(s))
	}
	// epb_flags bits 0-1: 1 inbound, 2 outbound, from the guest's side.
	switch pk.Direction {
	case format.ToGuest:
		b = option(b, epbFlags, []byte{1, 0, 0, 0})
	case format.FromGuest:
		b = option(b, epbFlags, []byte{2, 0, 0, 0})
	}
	return p.finish(option(b, optEnd, nil))
}

// Close writes the statistics of each interface and flushes.
func (p *PcapngWriter) Close() error {
	for i, c := range p.ifaces {
		b := p.begin(blockStats)
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		b = timestamp(b, c.last)
		b = option(b, isbStartTime, timestamp(nil, c.first))
		b = option(b, isbEndTime, timestamp(nil, c.last))
		b = option(b, isbRecv, binary.LittleEndian.AppendUint64(nil, c.recv))
		b = option(b, isbDrop, binary.LittleEndian.AppendUint64(nil, c.drop))
		if err := p.finish(option(b, optEnd, nil)); err != nil {
			return err
		}
	}
	return p.w.Flush()
}

func (p *PcapngWriter) begin(typ uint32) []byte {
	b := binary.LittleEndian.AppendUint32(p.buf[:0], typ)
	return binary.LittleEndian.AppendUint32(b, 0)
}

// finish puts the block's total length at its head and tail.
func (p *PcapngWriter) finish(b []byte) error {
	total := uint32(len(b) + 4)
	b = binary.LittleEndian.AppendUint32(b, total)
	binary.LittleEndian.PutUint32(b[4:], total)
	p.buf = b
	_, err := p.w.Write(b)
	return err
}

func option(b []byte, code uint16, v []byte) []byte {
	if len(v) > 0xffff {
		v = v[:0xffff]
	}
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(v)))
	return pad(append(b, v...))
}

// pad extends b to a multiple of four: every part of a block is one.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// timestamp appends the high and the low half, in that order.
func timestamp(b []byte, ns uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(ns>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(ns))
}

// needsCsum is VIRTIO_NET_HDR_F_NEEDS_CSUM (linux/virtio_net.h).
const needsCsum = 1

// CompleteChecksum does in place what the device was asked to do: the Internet
// checksum from CsumStart to the end of the frame, stored at CsumOffset from
// there. The field already holds the sum of the pseudo header. Frames cut short
// and nonsense offsets are left alone.
func CompleteChecksum(frame []byte, v *format.VirtioNet) {
	if v == nil || v.Flags&needsCsum == 0 {
		return
	}
	start, field := int(v.CsumStart), int(v.CsumStart)+int(v.CsumOffset)
	if start >= len(frame) || field+2 > len(frame) {
		return
	}
	var sum uint32
	for i := start; i < len(frame); i += 2 {
		if i+1 < len(frame) {
			sum += uint32(frame[i])<<8 | uint32(frame[i+1])
		} else {
			sum += uint32(frame[i]) << 8
		}
		sum = sum&0xffff + sum>>16
	}
	sum = sum&0xffff + sum>>16
	c := ^uint16(sum)
	if c == 0 {
		c = 0xffff // zero would mean "no checksum" in UDP
	}
	binary.BigEndian.PutUint16(frame[field:], c)
}
