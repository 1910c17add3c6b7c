package ssh

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func kexInit(lists ...string) []byte {
	b := append([]byte{MsgKexInit}, make([]byte, 16)...)
	for _, l := range lists {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(l))), l...)
	}
	return append(b, 0, 0, 0, 0, 0)
}

var lists = []string{"curve25519-sha256,ecdh-sha2-nistp256", "ssh-ed25519", "aes128-ctr", "aes256-ctr", "hmac-sha2-256", "hmac-sha2-512", "none", "none", "", ""}

func TestParseKexInit(t *testing.T) {
	k, err := ParseKexInit(kexInit(lists...))
	require.NoError(t, err)
	require.Equal(t, []string{"curve25519-sha256", "ecdh-sha2-nistp256"}, k.Kex)
	require.Equal(t, []string{"hmac-sha2-512"}, k.MACToClient)
	require.Len(t, k.HASSH(), 32)
	require.NotEqual(t, k.HASSH(), k.HASSHServer(), "they cover opposite directions")
	_, err = ParseKexInit(kexInit(lists...)[:30])
	require.ErrorIs(t, err, ErrMalformed)
	require.Equal(t, "b", Choose([]string{"a", "b", "c"}, []string{"c", "b"}))
}

func TestBanner(t *testing.T) {
	v, n, err := Banner([]byte("Welcome\r\nSSH-2.0-OpenSSH_9.2\r\nrest"))
	require.NoError(t, err)
	require.Equal(t, "SSH-2.0-OpenSSH_9.2", v)
	require.Equal(t, 30, n)
	_, n, err = Banner([]byte("SSH-2.0-Open"))
	require.NoError(t, err)
	require.Zero(t, n)
	_, _, err = Banner([]byte(strings.Repeat("x", MaxBanner+1)))
	require.ErrorIs(t, err, ErrMalformed)
}

// FuzzPacket: a packet's payload lies within it, and its lists within that.
func FuzzPacket(f *testing.F) {
	k := kexInit(lists...)
	pad := 8 - (5+len(k))%8 + 8
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(k)+pad))
	f.Add(append(append(append(b, byte(pad)), k...), make([]byte, pad)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, n, err := Packet(b)
		if err != nil || n == 0 {
			return
		}
		require.LessOrEqual(t, n, len(b))
		require.Less(t, len(m), n)
		if k, err := ParseKexInit(m); err == nil {
			require.LessOrEqual(t, len(strings.Join(k.Kex, ",")), len(m))
			require.Len(t, k.HASSH(), 32)
		}
	})
}
