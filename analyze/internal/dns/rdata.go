package dns

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RR types whose content is written out.
const (
	TypeA          = 1
	TypeNS         = 2
	TypeCNAME      = 5
	TypeSOA        = 6
	TypeWKS        = 11
	TypePTR        = 12
	TypeHINFO      = 13
	TypeMX         = 15
	TypeTXT        = 16
	TypeAAAA       = 28
	TypeLOC        = 29
	TypeNBS        = 32 // NetBIOS name service, RFC 1002
	TypeSRV        = 33
	TypeNAPTR      = 35
	TypeA6         = 38
	TypeOPT        = 41
	TypeDS         = 43
	TypeSSHFP      = 44
	TypeRRSIG      = 46
	TypeNSEC       = 47
	TypeDNSKEY     = 48
	TypeNSEC3      = 50
	TypeNSEC3PARAM = 51
	TypeSVCB       = 64
	TypeHTTPS      = 65
	TypeSPF        = 99
	TypeTKEY       = 249
	TypeTSIG       = 250
	TypeANY        = 255
	TypeCAA        = 257
	TypeBINDS      = 65534
)

// text writes the content of the record at p.off the way Zeek's dns.log does.
// Malformed content gives "".
func (p *parser) text(r *Record) string {
	b := p.msg[p.off : p.off+r.Size]
	switch r.Type {
	case TypeA:
		if len(b) == 4 {
			return netip.AddrFrom4([4]byte(b)).String()
		}
	case TypeAAAA:
		if len(b) == 16 {
			return netip.AddrFrom16([16]byte(b)).Unmap().String()
		}
	case TypeNS, TypeCNAME, TypePTR, TypeSOA:
		return p.nameAt(0)
	case TypeMX:
		return p.nameAt(2)
	case TypeSRV:
		return p.nameAt(6)
	case TypeTXT:
		return characterStrings("TXT", b)
	case TypeSPF:
		return characterStrings("SPF", b)
	case TypeHINFO:
		return hinfo(b)
	case TypeNAPTR:
		return p.naptr(b)
	case TypeRRSIG:
		return p.rrsig(b)
	case TypeDNSKEY:
		if len(b) >= 4 {
			return "DNSKEY " + strconv.Itoa(int(b[3]))
		}
	case TypeNSEC:
		return "NSEC " + r.Name + " " + p.nameAt(0)
	case TypeNSEC3:
		return "NSEC3"
	case TypeNSEC3PARAM:
		return "NSEC3PARAM"
	case TypeDS:
		if len(b) >= 4 {
			return fmt.Sprintf("DS %d %d", b[2], b[3])
		}
	case TypeSSHFP:
		if len(b) >= 2 {
			return "SSHFP: " + hex.EncodeToString(b[2:])
		}
	case TypeLOC:
		if len(b) >= 4 {
			return fmt.Sprintf("LOC:  %d %d %d", b[1], b[2], b[3])
		}
	case TypeBINDS:
		return "BIND9 signing signal"
	case TypeWKS, TypeNBS, TypeA6, TypeOPT, TypeSVCB, TypeHTTPS, TypeTKEY, TypeTSIG, TypeCAA:
		return ""
	default:
		return "<unknown type=" + strconv.Itoa(int(r.Type)) + ">"
	}
	return ""
}

// nameAt reads the name n bytes into the content.
func (p *parser) nameAt(n int) string {
	s, _, err := Name(p.msg, p.off+n)
	if err != nil {
		return ""
	}
	return s
}

func characterStrings(label string, b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := int(b[0])
		if n+1 > len(b) {
			break
		}
		if s.Len() > 0 {
			s.WriteByte(' ')
		}
		fmt.Fprintf(&s, "%s %d %s", label, n, b[1:1+n])
		b = b[1+n:]
	}
	return s.String()
}

// characterString takes one counted string off b.
func characterString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || int(b[0])+1 > len(b) {
		return "", nil, false
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], true
}

func hinfo(b []byte) string {
	cpu, rest, ok := characterString(b)
	if !ok {
		return ""
	}
	os, _, _ := characterString(rest)
	return "HINFO " + cpu + " " + os
}

func (p *parser) naptr(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	flags, rest, ok1 := characterString(b[4:])
	service, rest, ok2 := characterString(rest)
	regexp, rest, ok3 := characterString(rest)
	if !ok1 || !ok2 || !ok3 {
		return ""
	}
	tail := regexp
	if replacement := p.nameAt(len(b) - len(rest)); replacement != "" {
		if tail != "" {
			tail += " "
		}
		tail += replacement
	}
	return fmt.Sprintf("NAPTR %d %d %s %s %s", binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), flags, service, tail)
}

func (p *parser) rrsig(b []byte) string {
	if len(b) < 19 {
		return ""
	}
	signer := p.nameAt(18)
	if signer == "" {
		signer = "<Root>"
	}
	return fmt.Sprintf("RRSIG %d %s", binary.BigEndian.Uint16(b), signer)
}

// NetBIOSName decodes a first-level encoded NetBIOS name (RFC 1001 §14.1):
// 32 letters A to P, two for a byte, the sixteenth being the kind of service.
// Other names are returned as they are.
func NetBIOSName(s string) string {
	enc, _, _ := strings.Cut(s, ".")
	if len(enc) != 32 {
		return s
	}
	var b [16]byte
	for i := range b {
		hi, lo := enc[2*i]|0x20, enc[2*i+1]|0x20
		if hi < 'a' || hi > 'p' || lo < 'a' || lo > 'p' {
			return s
		}
		b[i] = (hi-'a')<<4 | (lo - 'a')
	}
	return strings.TrimRight(string(b[:15]), " \x00")
}
