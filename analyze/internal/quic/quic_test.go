package quic

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// The server's Initial packet of RFC 9001 appendix A.3; the client chose the
// connection ID 8394c8f03e515708.
const serverInitial = "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee"

func TestOpenServerInitial(t *testing.T) {
	b, err := hex.DecodeString(serverInitial)
	require.NoError(t, err)
	dcid, _ := hex.DecodeString("8394c8f03e515708")
	_, server, err := InitialKeys(Version1, dcid)
	require.NoError(t, err)
	p, rest, err := Next(b)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, Initial, p.Type)
	require.Equal(t, "f067a5502a4262b5", hex.EncodeToString(p.SCID))
	frames, err := server.Open(&p)
	require.NoError(t, err)
	var s Stream
	closed, err := Frames(frames, s.Add)
	require.NoError(t, err)
	require.False(t, closed)
	require.Equal(t, byte(2), s.Bytes()[0], "a ServerHello")
	require.Len(t, s.Bytes(), 90)
}

func TestStreamOutOfOrder(t *testing.T) {
	var s Stream
	s.Add(3, []byte("def"))
	require.Empty(t, s.Bytes())
	s.Add(0, []byte("abcX"))
	require.Equal(t, "abcdef", string(s.Bytes()))
	s.Add(1<<40, []byte("far"))
	require.Len(t, s.Bytes(), 6)
}

// FuzzNext: packets are parts of the datagram in their order, and what is not
// protected with the right keys does not open.
func FuzzNext(f *testing.F) {
	b, _ := hex.DecodeString(serverInitial)
	f.Add(b)
	f.Add([]byte{0xc0, 0, 0, 0, 1, 0, 0, 0, 1, 0})
	f.Add([]byte{0x40, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			p, next, err := Next(rest)
			if err != nil {
				return
			}
			require.Equal(t, len(rest), len(p.Whole)+len(next))
			if p.Type == Initial {
				if c, _, err := InitialKeys(p.Version, p.DCID); err == nil {
					_, _ = c.Open(&p)
				}
			}
			rest = next
		}
		var s Stream
		_, _ = Frames(b, s.Add)
		require.LessOrEqual(t, len(s.Bytes()), len(b))
	})
}
