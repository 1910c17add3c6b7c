//go:build linux

package network

import (
	"encoding/binary"

	"github.com/xentape/xentape/capture/internal/packetring"
	"github.com/xentape/xentape/format"
)

// virtioNet reads struct virtio_net_hdr (linux/virtio_net.h), little-endian as on
// every machine Xen runs on. Where a VLAN tag was put back into the frame, what
// lies behind it moved by its length.
func virtioNet(f *packetring.Frame) *format.VirtioNet {
	le := binary.LittleEndian
	v := &format.VirtioNet{
		Flags: f.VNet[0], GSOType: f.VNet[1], HdrLen: le.Uint16(f.VNet[2:]),
		GSOSize: le.Uint16(f.VNet[4:]), CsumStart: le.Uint16(f.VNet[6:]), CsumOffset: le.Uint16(f.VNet[8:]),
	}
	if *v == (format.VirtioNet{}) {
		return nil
	}
	if f.HasTag {
		const tag = 4
		if v.Flags&1 != 0 { // NEEDS_CSUM: CsumStart counts from the start of the frame
			v.CsumStart += tag
		}
		if v.GSOType != 0 {
			v.HdrLen += tag
		}
	}
	return v
}
