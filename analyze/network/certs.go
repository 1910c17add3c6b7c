package network

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
)

// maxCerts bounds the certificates remembered by a shard; servers send the same
// one again and again.
const maxCerts = 4096

// certs remembers what certificates say.
type certs map[[32]byte]*x509.Certificate

// describe fills in what the server's own certificate says. A certificate that
// cannot be parsed leaves its fingerprint only.
func (t *certs) describe(r *TLS, sum [32]byte, der []byte) {
	crt, known := (*t)[sum]
	if !known {
		crt, _ = x509.ParseCertificate(der)
		if *t == nil || len(*t) >= maxCerts {
			*t = make(certs)
		}
		(*t)[sum] = crt
	}
	if crt == nil {
		return
	}
	r.Subject, r.Issuer, r.SANs = distinguished(crt.Subject), distinguished(crt.Issuer), crt.DNSNames
	before, after := Seconds(crt.NotBefore.Unix()*second), Seconds(crt.NotAfter.Unix()*second)
	r.NotBefore, r.NotAfter = &before, &after
	if r.ServerName != "" {
		ok := crt.VerifyHostname(r.ServerName) == nil || crt.Subject.CommonName != "" && matchesName(crt.Subject.CommonName, r.ServerName)
		r.SNIMatchesCert = &ok
	}
}

// distinguished writes a name with its most specific part first (RFC 2253).
func distinguished(n pkix.Name) string { return n.ToRDNSequence().String() }

// matchesName compares a certificate's common name, which may begin with a
// wildcard label, with a host name.
func matchesName(pattern, host string) bool {
	pattern, host = strings.ToLower(pattern), strings.ToLower(host)
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		_, tail, found := strings.Cut(host, ".")
		return found && "."+tail == rest
	}
	return pattern == host
}
