package packet

import "encoding/binary"

// wifi strips an IEEE 802.11 data frame. Management, control, empty and
// encrypted frames carry nothing readable.
func (f *Frames) wifi(data []byte) {
	n := 24
	if len(data) <= n {
		return
	}
	control, flags := data[0], data[1]
	if control>>2&2 == 0 || control>>4&4 != 0 {
		return
	}
	if flags&3 == 3 { // to and from the distribution system: a fourth address
		n += 6
	}
	if len(data) <= n {
		return
	}
	aggregate := false
	if control>>4&8 != 0 { // quality of service
		aggregate = data[n]&0x80 != 0
		if flags&0x40 != 0 { // protected
			return
		}
		n += 2
	}
	if len(data) <= n {
		return
	}
	data = data[n:]
	if !aggregate {
		f.wifiPayload(data)
		return
	}
	// A-MSDU: subframes of destination, source, length, padded to 4 bytes.
	for len(data) >= 14 {
		n := int(binary.BigEndian.Uint16(data[12:]))
		if len(data) < n+14 {
			return
		}
		data = data[14:]
		if !f.wifiPayload(data[:n]) {
			return
		}
		data = data[n:]
		if pad := n % 4; len(data) >= pad {
			data = data[pad:]
		}
	}
}

func (f *Frames) wifiPayload(data []byte) bool {
	if len(data) < 8 || data[0] != 0xaa || data[1] != 0xaa || data[2] != 3 ||
		data[3] != 0 || data[4] != 0 || data[5] != 0 {
		return false
	}
	if typ := binary.BigEndian.Uint16(data[6:]); typ == etherIPv4 || typ == etherIPv6 {
		f.add(data[8:])
		return true
	}
	return false
}
