package packetring

import (
	"encoding/binary"
	"fmt"
)

// Layout of struct tpacket_block_desc and struct tpacket3_hdr, linux/if_packet.h;
// fields are in host byte order, which is little-endian wherever Xen runs.
const (
	blockStatus   = 8
	blockPackets  = 12
	blockFirst    = 16
	blockHeader   = 48
	frameNext     = 0
	frameSec      = 4
	frameNsec     = 8
	frameSnap     = 12
	frameLen      = 16
	frameStatus   = 20
	frameMac      = 24
	frameVlanTCI  = 32
	frameVlanTPID = 36
	frameHeader   = 48 // TPACKET_ALIGN(sizeof(struct tpacket3_hdr)); struct sockaddr_ll follows
	linkPktType   = frameHeader + 10
	frameFixed    = frameHeader + 20
)

// Bits of tp_status.
const (
	statusUser      = 1 << 0
	statusVlanValid = 1 << 4
	statusVlanTPID  = 1 << 6
)

// vnetSize is sizeof(struct virtio_net_hdr), which lies before the frame.
const vnetSize = 10

// vlanOffset is where an 802.1Q tag stands in an Ethernet frame.
const vlanOffset = 12

// Outgoing is the packet type of a frame the interface sends (PACKET_OUTGOING,
// linux/if_packet.h); all others were received by it.
const Outgoing = 4

// A Frame is one packet of the ring. Data is valid until the block is released.
type Frame struct {
	Sec, Nsec uint32 // CLOCK_REALTIME
	Length    uint32 // bytes on the wire, without the tag in VLAN
	Type      uint8  // sll_pkttype
	VNet      [vnetSize]byte
	HasTag    bool    // the kernel took an 802.1Q tag out of the frame
	Tag       [4]byte // TPID and TCI in wire order
	Data      []byte
}

// eachFrame calls visit for every frame of a block. A field that points out of the
// block, or does not move forward, ends the walk with an error.
func eachFrame(b []byte, visit func(*Frame) error) error {
	le := binary.LittleEndian
	count := le.Uint32(b[blockPackets:])
	at := uint64(le.Uint32(b[blockFirst:]))
	var f Frame
	for i := range count {
		if at < blockHeader || at+frameFixed > uint64(len(b)) {
			return fmt.Errorf("packet ring: frame %d of %d at %#x lies outside its block of %#x", i, count, at, len(b))
		}
		h := b[at:]
		mac, snap := uint64(le.Uint16(h[frameMac:])), uint64(le.Uint32(h[frameSnap:]))
		next := uint64(le.Uint32(h[frameNext:])) // 0 in the last
		end := uint64(len(h))
		if next != 0 {
			end = min(end, next)
		}
		if mac < frameFixed+vnetSize || mac+snap > end {
			return fmt.Errorf("packet ring: frame %d of %d: %d bytes at %#x+%#x do not fit", i, count, snap, at, mac)
		}
		f = Frame{
			Sec: le.Uint32(h[frameSec:]), Nsec: le.Uint32(h[frameNsec:]), Length: le.Uint32(h[frameLen:]),
			Type: h[linkPktType], Data: h[mac : mac+snap : mac+snap],
		}
		copy(f.VNet[:], h[mac-vnetSize:mac])
		f.takeTag(h)
		if err := visit(&f); err != nil {
			return err
		}
		if next == 0 && i+1 < count {
			return fmt.Errorf("packet ring: frame %d of %d is the last by its offset", i, count)
		}
		at += next
	}
	return nil
}

// takeTag reads the VLAN tag the kernel keeps beside the frame.
func (f *Frame) takeTag(h []byte) {
	le := binary.LittleEndian
	status := le.Uint32(h[frameStatus:])
	if status&statusVlanValid == 0 {
		return
	}
	tpid := uint16(0x8100)
	if status&statusVlanTPID != 0 {
		tpid = le.Uint16(h[frameVlanTPID:])
	}
	f.HasTag = true
	binary.BigEndian.PutUint16(f.Tag[:], tpid)
	binary.BigEndian.PutUint16(f.Tag[2:], uint16(le.Uint32(h[frameVlanTCI:])))
}

// AppendWire appends the frame as it was on the wire, tag included, to dst.
func (f *Frame) AppendWire(dst []byte) []byte {
	if !f.HasTag || len(f.Data) < vlanOffset {
		return append(dst, f.Data...)
	}
	dst = append(dst, f.Data[:vlanOffset]...)
	dst = append(dst, f.Tag[:]...)
	return append(dst, f.Data[vlanOffset:]...)
}
