package network

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDistinguished: names are written as OpenSSL's RFC 2253 form has them.
func TestDistinguished(t *testing.T) {
	name := pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "DE"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: `Müller + Söhne, "GmbH"`}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 17}, Value: "57250"}},
		{{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: "x"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: " #a;b "}},
	}
	der, err := asn1.Marshal(name)
	require.NoError(t, err)
	require.Equal(t, `CN=\ #a\;b\ ,1.2.3.4=#130178,postalCode=57250,O=M\C3\BCller \+ S\C3\B6hne\, \"GmbH\",C=DE`, distinguished(der))
	require.Empty(t, distinguished([]byte{0x30, 0x7f, 1}))
}

func FuzzCertificateNames(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0x30, 0x01, 0x00})
	f.Add([]byte{0x30, 0x10, 0x30, 0x0e, 0x02, 0x01, 0x01, 0x30, 0x00, 0x30, 0x00, 0x30, 0x00, 0x30, 0x03, 0x31, 0x01, 0x30})
	f.Fuzz(func(t *testing.T, der []byte) {
		subject, issuer := certificateNames(der)
		for _, s := range []string{subject, issuer} {
			require.LessOrEqual(t, len(s), 16*len(der), "the names are made of what is there")
			for _, c := range []byte(s) {
				require.True(t, c >= ' ' && c <= '~', "control characters are escaped")
			}
		}
	})
}
