package tls

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// capturedHello returns the ClientHello the standard library sends, with its
// record and handshake headers taken off.
func capturedHello(t testing.TB, c *tls.Config) []byte {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, c).Handshake()
		_ = client.Close()
	}()
	require.NoError(t, server.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 16<<10)
	n, err := server.Read(buf)
	require.NoError(t, err)
	require.Greater(t, n, 9)
	return buf[9:n]
}

func TestParseClientHello(t *testing.T) {
	h, err := ParseClientHello(capturedHello(t, &tls.Config{ServerName: "example.com", NextProtos: []string{"h2", "http/1.1"}}))
	require.NoError(t, err)
	require.Equal(t, "example.com", h.ServerName)
	require.Equal(t, []string{"h2", "http/1.1"}, h.ALPN)
	require.Contains(t, h.Versions, uint16(TLSv13))
	require.Equal(t, uint16(TLSv12), h.Version)
	require.Regexp(t, `^t13d\d{4}h2_[0-9a-f]{12}_[0-9a-f]{12}$`, h.JA4('t'))
}

// The example of FoxIO's technical description of JA4: the hash of the sorted
// cipher suites, and of the sorted extensions with the signature algorithms.
func TestJA4Example(t *testing.T) {
	h := &ClientHello{
		Version:       TLSv12,
		Ciphers:       []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		Extensions:    []uint16{0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015},
		SignatureAlgs: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
		Versions:      []uint16{0x8a8a, TLSv13, TLSv12},
		ALPN:          []string{"h2", "http/1.1"},
	}
	require.Equal(t, "t13d1516h2_8daaf6152771_e5627efa2ab1", h.JA4('t'))
}

// FuzzParseClientHello: what is parsed is no more than what was given, and the
// fingerprints have their form.
func FuzzParseClientHello(f *testing.F) {
	f.Add(capturedHello(f, &tls.Config{ServerName: "example.com", NextProtos: []string{"h2"}}))
	f.Add(capturedHello(f, &tls.Config{ServerName: "a", MaxVersion: tls.VersionTLS12}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, _ := ParseClientHello(b); h != nil {
			require.LessOrEqual(t, 2*len(h.Ciphers)+4*len(h.Extensions)+len(h.ServerName), len(b))
			require.Len(t, h.JA3(), 32)
			require.Len(t, h.JA4('t'), 36)
		}
		if h, _ := ParseServerHello(b); h != nil {
			require.LessOrEqual(t, 4*len(h.Extensions)+len(h.ALPN), len(b))
			require.Len(t, h.JA3S(), 32)
		}
		total := 0
		for _, c := range Certificates(b) {
			total += len(c) + 3
		}
		require.LessOrEqual(t, total, len(b))
	})
}
