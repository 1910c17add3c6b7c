package bpf

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// encode lays an event out as struct event of blocks.bpf.c.
func encode(e Event) []byte {
	b := make([]byte, eventSize)
	le := binary.LittleEndian
	le.PutUint64(b, uint64(e.Time))
	le.PutUint64(b[8:], e.ID)
	le.PutUint64(b[16:], e.Sector)
	le.PutUint32(b[24:], e.Bytes)
	le.PutUint16(b[28:], uint16(e.Kind))
	b[30], b[31] = e.Op, e.Flags|e.Status
	le.PutUint32(b[32:], e.CPU)
	le.PutUint32(b[36:], e.PID)
	return append(b, e.Data...)
}

func TestEventsReadBack(t *testing.T) {
	for _, want := range []Event{
		{Time: 5, ID: 7, Sector: 9, Bytes: 4096, Kind: Request, Op: 1, Flags: FUA | Meta, CPU: 3, PID: 99},
		{ID: 7, Sector: 4096, Bytes: 3, Kind: Payload, Data: []byte("abc")},
		{Time: 6, ID: 7, Sector: 9, Bytes: 4096, Kind: Completion, Op: 1, Status: 10},
	} {
		var got Event
		require.NoError(t, got.parse(encode(want)))
		require.Equal(t, want, got)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(encode(Event{Time: 5, ID: 7, Sector: 9, Bytes: 4096, Kind: Request, Op: 1}))
	f.Add(encode(Event{ID: 7, Bytes: 3, Kind: Payload, Data: []byte("abc")}))
	f.Add(encode(Event{ID: 7, Kind: Completion, Status: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if e.parse(b) == nil {
			require.Equal(t, e.Kind == Payload, e.Data != nil)
			require.True(t, e.Data == nil || len(e.Data) == int(e.Bytes))
		}
	})
}

func TestSymbols(t *testing.T) {
	text := "ffffffff81000000 T _text\nffffffff82a8f0c0 d vmemmap_base\nffffffffc0a00000 t vmemmap_base\t[module]\n"
	got, err := symbols(strings.NewReader(text), "vmemmap_base", "page_offset_base")
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"vmemmap_base": 0xffffffff82a8f0c0}, got)
	_, err = symbols(strings.NewReader("xyz T a\n"), "a")
	require.Error(t, err)
}
