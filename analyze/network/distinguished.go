package network

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
)

// attributeNames are the short names OpenSSL has for the attributes of a name;
// others are written as numbers.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
	"2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.18": "postOfficeBox",
	"2.5.4.20": "telephoneNumber", "2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials",
	"2.5.4.44": "generationQualifier", "2.5.4.45": "x500UniqueIdentifier", "2.5.4.46": "dnQualifier",
	"2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier",
	"1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName",
	"1.2.840.113549.1.9.8": "unstructuredAddress", "0.9.2342.19200300.100.1.1": "UID",
	"0.9.2342.19200300.100.1.25": "DC", "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
	"1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST", "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}

// attribute is one AttributeTypeAndValue (RFC 5280 §4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// attributeSET is a RelativeDistinguishedName; encoding/asn1 takes names that end
// in SET as sets.
type attributeSET []attribute

// certificateNames reads subject and issuer of a certificate, "" for what cannot be
// read. It is more lenient than crypto/x509 with all other parts.
func certificateNames(der []byte) (subject, issuer string) {
	var crt struct {
		TBS  asn1.RawValue
		Rest asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(der, &crt); err != nil && crt.TBS.Bytes == nil {
		return "", ""
	}
	var parts []asn1.RawValue
	for b := crt.TBS.Bytes; len(b) > 0 && len(parts) < 8; {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(b, &v)
		if err != nil {
			return "", ""
		}
		parts, b = append(parts, v), rest
	}
	if len(parts) > 0 && parts[0].Class == asn1.ClassContextSpecific {
		parts = parts[1:] // version
	}
	// serial number, algorithm, issuer, validity, subject
	if len(parts) < 5 {
		return "", ""
	}
	return distinguished(parts[4].FullBytes), distinguished(parts[2].FullBytes)
}

// distinguished writes a name as OpenSSL does in the form of RFC 2253: the most
// specific part first.
func distinguished(raw []byte) string {
	var name []attributeSET
	if _, err := asn1.Unmarshal(raw, &name); err != nil {
		return ""
	}
	var b strings.Builder
	for i := len(name) - 1; i >= 0; i-- {
		for k := len(name[i]) - 1; k >= 0; k-- {
			a := &name[i][k]
			oid := a.Type.String()
			short, known := attributeNames[oid]
			if !known {
				short = oid
			}
			b.WriteString(short + "=" + attributeText(&a.Value, known))
			if k > 0 {
				b.WriteByte('+')
			}
		}
		if i > 0 {
			b.WriteByte(',')
		}
	}
	return b.String()
}

// tagUniversal is UniversalString (four bytes a character).
const tagUniversal = 28

// attributeText writes a value with what RFC 2253 §2.4 has escaped; of unknown
// attributes and types its DER in hexadecimal.
func attributeText(v *asn1.RawValue, known bool) string {
	text, size := string(v.Bytes), 0
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString, asn1.TagGeneralString:
	case asn1.TagT61String:
		size = 1
	case asn1.TagBMPString:
		size = 2
	case tagUniversal:
		size = 4
	default:
		known = false
	}
	if !known || v.Class != asn1.ClassUniversal {
		return "#" + strings.ToUpper(hex.EncodeToString(v.FullBytes))
	}
	if size > 0 {
		var runes []rune
		for b := v.Bytes; len(b) >= size; b = b[size:] {
			r := rune(0)
			for _, c := range b[:size] {
				r = r<<8 | rune(c)
			}
			runes = append(runes, r)
		}
		text = string(runes)
	}
	return escapeAttribute(text)
}

func escapeAttribute(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case strings.IndexByte(",+\"\\<>;", c) >= 0, i == 0 && (c == '#' || c == ' '), i == len(s)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
