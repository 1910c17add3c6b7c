package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// query asks for the A record of c2.example.
var query = []byte("\x1d\x05\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02c2\x07example\x00\x00\x01\x00\x01")

func TestAnswer(t *testing.T) {
	response, name, ok := answer(query, net.IPv4(10, 9, 9, 2).To4())
	require.True(t, ok)
	require.Equal(t, "c2.example", name)
	require.Equal(t, query[:2], response[:2], "the query's id")
	require.Equal(t, []byte{0x85, 0x80}, response[2:4], "a response without an error")
	require.Equal(t, []byte{0, 1}, response[6:8], "one answer")
	require.Equal(t, []byte{10, 9, 9, 2}, response[len(response)-4:])
	require.Equal(t, "\x1d\x05\x01\x00", string(query[:4]), "the query is left as it was")
}

func TestAnswerSaysWhatIsMissing(t *testing.T) {
	missing := append([]byte{}, query[:12]...)
	missing = append(missing, "\x07missing\x07example\x00\x00\x01\x00\x01"...)
	response, _, ok := answer(missing, net.IPv4(10, 9, 9, 2).To4())
	require.True(t, ok)
	require.Equal(t, byte(3), response[3]&0xf, "NXDOMAIN")
	require.Len(t, response, len(missing))
}

func FuzzAnswer(f *testing.F) {
	f.Add(query)
	f.Add(query[:13])
	f.Fuzz(func(t *testing.T, b []byte) {
		response, _, ok := answer(b, net.IPv4(10, 9, 9, 2).To4())
		if ok {
			require.NotZero(t, response[2]&0x80, "a response")
			require.LessOrEqual(t, len(response), len(b)+16)
		}
	})
}
