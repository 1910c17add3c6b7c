package packetring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

type frameSpec struct {
	typ    uint8
	status uint32
	tci    uint32
	tpid   uint16
	vnet   []byte
	data   []byte
}

// buildBlock lays frames out as the kernel does (packet_fill_skb and
// prb_fill_curr_block, net/packet/af_packet.c).
func buildBlock(size int, frames []frameSpec) []byte {
	le := binary.LittleEndian
	b := make([]byte, size)
	le.PutUint32(b[8:], 1)
	le.PutUint32(b[12:], uint32(len(frames)))
	le.PutUint32(b[16:], 48)
	at := 48
	for i, f := range frames {
		h := b[at:]
		mac := 92
		le.PutUint32(h[4:], uint32(1000+i))
		le.PutUint32(h[8:], uint32(i))
		le.PutUint32(h[12:], uint32(len(f.data)))
		le.PutUint32(h[16:], uint32(len(f.data)))
		le.PutUint32(h[20:], 1|f.status)
		le.PutUint16(h[24:], uint16(mac))
		le.PutUint32(h[32:], f.tci)
		le.PutUint16(h[36:], f.tpid)
		h[58] = f.typ
		copy(h[mac-10:], f.vnet)
		copy(h[mac:], f.data)
		next := (mac + len(f.data) + 15) &^ 15
		if i+1 < len(frames) {
			le.PutUint32(h, uint32(next))
		}
		at += next
	}
	return b
}

func testFrames() []frameSpec {
	return []frameSpec{
		{typ: 0, vnet: []byte{1, 1, 66, 0, 0xb4, 5, 34, 0, 16, 0}, data: bytes.Repeat([]byte("abcdefgh"), 20)},
		{typ: Outgoing, data: []byte("0123456789ab" + "payload")},
		{typ: 1, status: statusVlanValid, tci: 0x2064, data: []byte("0123456789ab" + "tagged")},
		{typ: 1, status: statusVlanValid | statusVlanTPID, tci: 7, tpid: 0x88a8, data: []byte("0123456789ab" + "outer")},
	}
}

func TestEachFrame(t *testing.T) {
	var got []Frame
	require.NoError(t, eachFrame(buildBlock(4096, testFrames()), func(f *Frame) error {
		got = append(got, *f)
		return nil
	}))
	require.Len(t, got, 4)
	require.Equal(t, testFrames()[0].data, got[0].Data)
	require.Equal(t, [10]byte(testFrames()[0].vnet), got[0].VNet)
	require.Equal(t, uint32(1001), got[1].Sec)
	require.Equal(t, uint8(Outgoing), got[1].Type)
	require.Equal(t, "0123456789abpayload", string(got[1].AppendWire(nil)))
	require.Equal(t, "0123456789ab\x81\x00\x20\x64tagged", string(got[2].AppendWire(nil)))
	require.Equal(t, "0123456789ab\x88\xa8\x00\x07outer", string(got[3].AppendWire(nil)))
}

func TestVisitorErrorEndsTheWalk(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	require.ErrorIs(t, eachFrame(buildBlock(4096, testFrames()), func(*Frame) error { n++; return stop }), stop)
	require.Equal(t, 1, n)
}

func TestShape(t *testing.T) {
	for _, c := range []struct{ bytes, block, blocks int }{
		{16 << 20, 1 << 20, 16}, {2 << 20, 1 << 20, 2}, {1 << 20, 1 << 19, 2}, {0, 1 << 17, 2}, {300 << 10, 1 << 17, 2},
	} {
		block, blocks := shape(c.bytes)
		require.Equal(t, []int{c.block, c.blocks}, []int{block, blocks}, "%d bytes", c.bytes)
	}
}

// Whatever a block holds, frames lie inside it and the walk ends.
func FuzzEachFrame(f *testing.F) {
	f.Add(buildBlock(2048, testFrames()))
	f.Add(buildBlock(512, testFrames()[1:2]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < blockHeader {
			return
		}
		steps, last := 0, -1
		err := eachFrame(b, func(f *Frame) error {
			if steps++; len(f.Data) > 0 {
				at := offsetIn(b, f.Data)
				require.Greater(t, at, last, "frames move forward")
				last = at
			}
			require.LessOrEqual(t, len(f.AppendWire(nil)), len(b)+4)
			return nil
		})
		if err == nil {
			require.Equal(t, binary.LittleEndian.Uint32(b[blockPackets:]), uint32(steps))
		}
	})
}

// offsetIn is where part starts in b.
func offsetIn(b, part []byte) int {
	for i := range b {
		if &b[i] == &part[0] {
			return i
		}
	}
	return -1
}
