// Package dns parses DNS messages (RFC 1035) and those of its relatives on
// other ports (mDNS, LLMNR, NetBIOS name service). Any bytes may be given:
// sizes, counts and compression pointers are bounded.
package dns

import (
	"encoding/binary"
	"errors"
)

// Section is the part of a message a record is in.
type Section uint8

// The sections. In a dynamic update (RFC 2136) the answer section holds the
// prerequisites and the authority section the updates.
const (
	Answer Section = iota
	Authority
	Additional
)

// OpUpdate and OpNotify are operations other than a plain query.
const (
	OpQuery  = 0
	OpNotify = 4
	OpUpdate = 5
)

// MaxQuestions is how many questions a message may have; more is other traffic
// on a DNS port (Zeek's dns_max_queries).
const MaxQuestions = 25

// maxRecords bounds the records kept of one message.
const maxRecords = 4096

// Question is one entry of the question section; in an update, the zone.
type Question struct {
	Name        string
	Type, Class uint16
}

// Record is one resource record, with its content as text.
type Record struct {
	Section     Section
	Name        string
	Type, Class uint16
	TTL         uint32
	Text        string // as Zeek writes it; "" where it writes none
	Size        int    // of the content, bytes
}

// Message is a parsed message.
type Message struct {
	ID             uint16
	Response       bool
	Opcode         uint8
	AA, TC, RD, RA bool
	Z              uint8
	Rcode          uint8
	Counts         [4]uint16 // questions, answers, authority, additional, as the header states them
	Questions      []Question
	Records        []Record
	Core           bool // questions and answers (of an update: the changes) were read whole
}

// Errors of Parse.
var (
	ErrShort = errors.New("dns: message shorter than its header says")
	ErrName  = errors.New("dns: malformed name")
	ErrCount = errors.New("dns: too many questions")
)

// Header parses only the header.
func Header(b []byte) (m Message, err error) {
	if len(b) < 12 {
		return m, ErrShort
	}
	m.ID = binary.BigEndian.Uint16(b)
	f := binary.BigEndian.Uint16(b[2:])
	m.Response, m.Opcode, m.Rcode = f&0x8000 != 0, uint8(f>>11&15), uint8(f&15)
	m.AA, m.TC, m.RD, m.RA = f&0x400 != 0, f&0x200 != 0, f&0x100 != 0, f&0x80 != 0
	m.Z = uint8(f >> 4 & 7)
	for i := range m.Counts {
		m.Counts[i] = binary.BigEndian.Uint16(b[4+2*i:])
	}
	return m, nil
}

// Parse parses a message. On error the message holds what came before it.
func Parse(b []byte) (m Message, err error) {
	err = m.Parse(b)
	return m, err
}

// Parse is like the function Parse, but uses again the memory of m's questions
// and records. The strings in them stay valid.
func (m *Message) Parse(b []byte) (err error) {
	questions, records := m.Questions[:0], m.Records[:0]
	if *m, err = Header(b); err != nil {
		return err
	}
	m.Questions, m.Records = questions, records
	if m.Counts[0] > MaxQuestions {
		return ErrCount
	}
	p := parser{msg: b, off: 12}
	for range m.Counts[0] {
		var q Question
		if q.Name, err = p.name(); err != nil {
			return err
		}
		if q.Type, q.Class, err = p.typeClass(); err != nil {
			return err
		}
		m.Questions = append(m.Questions, q)
	}
	for s := Answer; s <= Additional; s++ {
		for range m.Counts[1+s] {
			if len(m.Records) == maxRecords {
				m.Core = true
				return nil
			}
			r, err := p.record(s)
			if err != nil {
				return err
			}
			m.Records = append(m.Records, r)
		}
		m.Core = m.Core || s == Authority || s == Answer && m.Opcode != OpUpdate
	}
	return nil
}

// A parser reads one message. The names in it are mostly the question's again, by
// a pointer: the one read last is kept by the offset it was read from.
type parser struct {
	msg    []byte
	off    int
	known  string
	origin int // offset of the labels of known; 0 none
}

func (p *parser) typeClass() (typ, class uint16, err error) {
	if len(p.msg)-p.off < 4 {
		return 0, 0, ErrShort
	}
	typ, class = binary.BigEndian.Uint16(p.msg[p.off:]), binary.BigEndian.Uint16(p.msg[p.off+2:])
	p.off += 4
	return typ, class, nil
}

func (p *parser) record(s Section) (r Record, err error) {
	r.Section = s
	if r.Name, err = p.name(); err != nil {
		return r, err
	}
	if r.Type, r.Class, err = p.typeClass(); err != nil {
		return r, err
	}
	if len(p.msg)-p.off < 6 {
		return r, ErrShort
	}
	r.TTL = binary.BigEndian.Uint32(p.msg[p.off:])
	r.Size = int(binary.BigEndian.Uint16(p.msg[p.off+4:]))
	p.off += 6
	if r.Size > len(p.msg)-p.off {
		return r, ErrShort
	}
	if r.Size > 0 {
		r.Text = p.text(&r)
	}
	p.off += r.Size
	return r, nil
}

func (p *parser) name() (string, error) {
	if at, ok := pointer(p.msg, p.off); ok && at == p.origin && at != 0 {
		p.off += 2
		return p.known, nil
	}
	n, next, err := Name(p.msg, p.off)
	if err == nil && p.origin == 0 {
		p.known, p.origin = n, p.off
	}
	p.off = next
	return n, err
}

// pointer reads the compression pointer at off, if there is one.
func pointer(msg []byte, off int) (to int, ok bool) {
	if off+1 >= len(msg) || msg[off]&0xc0 != 0xc0 {
		return 0, false
	}
	return int(msg[off]&0x3f)<<8 | int(msg[off+1]), true
}

// maxName is the longest name in presentation form that is kept.
const maxName = 512

// Name reads the possibly compressed name at off, in lower case and without the
// final dot, and returns the offset after it.
func Name(msg []byte, off int) (name string, next int, err error) {
	var buf [maxName]byte
	out := buf[:0]
	next = -1
	// Pointers go backwards and labels use up the room for them: either ends
	// every chain.
	for {
		if off >= len(msg) {
			return "", max(next, off), ErrName
		}
		n := int(msg[off])
		switch {
		case n == 0:
			if next < 0 {
				next = off + 1
			}
			return string(out), next, nil
		case n&0xc0 == 0xc0:
			if off+1 >= len(msg) {
				return "", len(msg), ErrName
			}
			to := n&0x3f<<8 | int(msg[off+1])
			if next < 0 {
				next = off + 2
			}
			if to >= off {
				return "", next, ErrName
			}
			off = to
		case n&0xc0 != 0 || off+1+n > len(msg) || len(out)+n+1 > maxName:
			return "", max(next, off), ErrName
		default:
			if len(out) > 0 {
				out = append(out, '.')
			}
			for _, c := range msg[off+1 : off+1+n] {
				if c >= 'A' && c <= 'Z' {
					c += 'a' - 'A'
				}
				out = append(out, c)
			}
			off += 1 + n
		}
	}
}
