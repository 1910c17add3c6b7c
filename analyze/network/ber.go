package network

// ber takes one definite-length BER element off b (X.690 §8.1.3): its tag and
// its content. ok is false when it is not there in full.
func ber(b []byte) (tag byte, body []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, false
	}
	n, off := int(b[1]), 2
	if n >= 0x80 {
		size := n & 0x7f
		if size == 0 || size > 4 || len(b) < 2+size {
			return 0, nil, false
		}
		n = 0
		for _, c := range b[2 : 2+size] {
			n = n<<8 | int(c)
		}
		off += size
	}
	if n < 0 || n > len(b)-off {
		return 0, nil, false
	}
	return b[0], b[off : off+n], true
}

// berSize returns the whole size of the element that begins at b, or 0 when too
// little is there to say or it is malformed.
func berSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[1] < 0x80 {
		return 2 + int(b[1])
	}
	size := int(b[1] & 0x7f)
	if size == 0 || size > 4 || len(b) < 2+size {
		return 0
	}
	n := 0
	for _, c := range b[2 : 2+size] {
		n = n<<8 | int(c)
	}
	return 2 + size + n
}

// ldapMessage: a sequence of a message number and an operation (RFC 4511 §4.2).
func ldapMessage(b []byte) bool {
	return len(b) >= 7 && b[0] == 0x30 && berSize(b) > 0 && ldapOp(b) != 0
}

// ldapOp returns the tag of the operation of the LDAP message at b, 0 for none.
func ldapOp(b []byte) byte {
	off := 2
	if b[1] >= 0x80 {
		off += int(b[1] & 0x7f)
	}
	if len(b) < off+3 || b[off] != 2 || b[off+1] == 0 || b[off+1] > 4 {
		return 0
	}
	off += 2 + int(b[off+1])
	if off >= len(b) || b[off]&0xc0 != 0x40 {
		return 0
	}
	return b[off]
}

// kerberos: an application tag of a Kerberos message around a sequence
// (RFC 4120 §5.10).
func kerberos(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	switch b[0] {
	case 0x6a, 0x6b, 0x6c, 0x6d, 0x7e:
		_, body, ok := ber(b)
		return ok && len(body) > 2 && body[0] == 0x30
	}
	return false
}
