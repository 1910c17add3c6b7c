package network

import (
	"crypto/x509"
	"strings"
)

// maxCerts bounds the certificates remembered by a shard; servers send the same
// one again and again.
const maxCerts = 4096

// certs remembers what certificates say.
type certs map[[32]byte]*certificate

// certificate is what is told of one; parsed is nil when it breaks the rules of
// crypto/x509, as old ones do.
type certificate struct {
	subject, issuer string
	parsed          *x509.Certificate
}

// describe fills in what a certificate says: of the server's own all, of the
// client's its names.
func (t *certs) describe(r *TLS, client bool, sum [32]byte, der []byte) {
	crt := (*t)[sum]
	if crt == nil {
		crt = &certificate{}
		crt.subject, crt.issuer = certificateNames(der)
		crt.parsed, _ = x509.ParseCertificate(der)
		if *t == nil || len(*t) >= maxCerts {
			*t = make(certs)
		}
		(*t)[sum] = crt
	}
	if client {
		r.ClientSubject, r.ClientIssuer = crt.subject, crt.issuer
		return
	}
	r.Subject, r.Issuer = crt.subject, crt.issuer
	x := crt.parsed
	if x == nil {
		return
	}
	r.SANs = x.DNSNames
	before, after := Seconds(x.NotBefore.Unix()*second), Seconds(x.NotAfter.Unix()*second)
	r.NotBefore, r.NotAfter = &before, &after
	if r.ServerName != "" {
		ok := x.VerifyHostname(r.ServerName) == nil || x.Subject.CommonName != "" && matchesName(x.Subject.CommonName, r.ServerName)
		r.SNIMatchesCert = &ok
	}
}

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
