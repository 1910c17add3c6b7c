package network

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/xentape/xentape/analyze/internal/dns"
)

// A DNS record is a query and its answer, under the names of Zeek's dns.log.
type DNS struct {
	Header
	Proto      string    `json:"proto"`
	TransID    uint16    `json:"trans_id"`
	RTT        *Seconds  `json:"rtt,omitempty"`
	Query      *string   `json:"query,omitempty"`
	QClass     *uint16   `json:"qclass,omitempty"`
	QClassName string    `json:"qclass_name,omitempty"`
	QType      *uint16   `json:"qtype,omitempty"`
	QTypeName  string    `json:"qtype_name,omitempty"`
	Rcode      *uint16   `json:"rcode,omitempty"`
	RcodeName  string    `json:"rcode_name,omitempty"`
	AA         bool      `json:"AA"`
	TC         bool      `json:"TC"`
	RD         bool      `json:"RD"`
	RA         bool      `json:"RA"`
	Z          uint8     `json:"Z"`
	Answers    []string  `json:"answers,omitempty"`
	TTLs       []Seconds `json:"TTLs,omitempty"`
	Rejected   bool      `json:"rejected"`
	Opcode     *uint16   `json:"opcode,omitempty"`
	OpcodeName string    `json:"opcode_name,omitempty"`

	answerBytes int
	number      [4]uint16 // what QClass, QType, Rcode and Opcode point to
	query       string    // what Query points to
	rtt         Seconds   // what RTT points to
}

// maxAnswerBytes bounds the text of the answers kept of one reply: compressed
// names can be made to say much with few bytes.
const maxAnswerBytes = 16 << 10

// maxPendingDNS bounds the questions of one connection that wait for answers.
const maxPendingDNS = 50

// dnsParser pairs questions and answers of a connection.
type dnsParser struct {
	queries, replies []*DNS // waiting for the other half, oldest first
	begun            bool
	buf              [2][]byte // TCP: the message being collected
	bad              [2]bool
}

func (p *dnsParser) datagram(c *conn, isOrig bool, b []byte) { p.message(c, isOrig, b) }

// data cuts a TCP stream into messages (RFC 1035 §4.2.2).
func (p *dnsParser) data(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	if p.bad[i] {
		return !p.bad[1-i]
	}
	p.buf[i] = append(p.buf[i], b...)
	for len(p.buf[i]) >= 2 {
		n := 2 + int(binary.BigEndian.Uint16(p.buf[i]))
		if n < 2+12 {
			p.bad[i], p.buf[i] = true, nil
			break
		}
		if len(p.buf[i]) < n {
			break
		}
		p.message(c, isOrig, p.buf[i][2:n])
		p.buf[i] = p.buf[i][n:]
	}
	if len(p.buf[i]) == 0 {
		p.buf[i] = nil
	}
	return true
}

func (p *dnsParser) gap(_ *conn, isOrig bool, _ uint64) bool {
	p.bad[side(isOrig)], p.buf[side(isOrig)] = true, nil
	return !p.bad[side(!isOrig)]
}

func (p *dnsParser) eof(*conn, bool) {}

func (p *dnsParser) finish(c *conn) {
	for _, d := range p.queries {
		c.addDNS(d)
	}
	for _, d := range p.replies {
		c.addDNS(d)
	}
	p.queries, p.replies = nil, nil
}

func (c *conn) addDNS(d *DNS) {
	c.app.dns = append(c.app.dns, d)
	c.shard.content.dns = append(c.shard.content.dns, d)
}

func (p *dnsParser) message(c *conn, isOrig bool, b []byte) {
	m := &c.shard.content.message
	err := m.Parse(b)
	netbios := c.respPort == 137 || c.origPort == 137
	if len(b) < 12 {
		return
	}
	switch m.Opcode {
	case dns.OpQuery, dns.OpUpdate, dns.OpNotify:
	default:
		if !netbios {
			c.limitReached()
			return
		}
	}
	multicast := c.resp.Netip().IsMulticast()
	if !p.begun && m.Response && isOrig && !multicast {
		c.flipByContent(isOrig) // the first message is an answer: it came from the server
	}
	p.begun = true
	if netbios && m.Opcode != dns.OpQuery && m.Opcode != dns.OpUpdate {
		return // parsed, but not logged
	}
	switch {
	case m.Core:
		c.addService("dns")
	case errors.Is(err, dns.ErrCount): // much that is no DNS runs on its port
		c.violation("dns")
	}
	d := p.match(c, m, multicast)
	d.number[3] = uint16(m.Opcode)
	d.Opcode, d.OpcodeName = &d.number[3], dns.OpcodeName(d.number[3], netbios)
	d.LastRecord = c.lastRec
	if m.Response {
		d.reply(c, m)
	} else {
		d.question(m, netbios)
	}
	if d.complete {
		c.addDNS(d.DNS)
	}
}

// pairing is a record, and whether both its halves were seen.
type pairing struct {
	*DNS
	complete bool
}

// match finds the other half of a message, or begins a record.
func (p *dnsParser) match(c *conn, m *dns.Message, multicast bool) pairing {
	if multicast {
		return pairing{c.beginDNS(m), true}
	}
	waiting, own := &p.queries, &p.replies
	if !m.Response {
		waiting, own = own, waiting
	}
	for i, d := range *waiting {
		if d.TransID == m.ID {
			*waiting = slices.Delete(*waiting, i, i+1)
			return pairing{d, true}
		}
	}
	d := c.beginDNS(m)
	if len(*own) >= maxPendingDNS {
		c.addDNS((*own)[0])
		*own = (*own)[1:]
	}
	*own = append(*own, d)
	return pairing{d, false}
}

func (c *conn) beginDNS(m *dns.Message) *DNS {
	return &DNS{Header: c.header(), Proto: protoName(c.proto), TransID: m.ID}
}

func (d *DNS) question(m *dns.Message, netbios bool) {
	if m.Opcode == dns.OpUpdate {
		return // the "question" is the zone
	}
	for _, q := range m.Questions {
		d.query = q.Name
		d.RD, d.TC, d.Z = m.RD, m.TC, m.Z
		d.number[0], d.number[1] = q.Class, q.Type
		d.QClass, d.QClassName = &d.number[0], dns.ClassName(q.Class)
		d.QType, d.QTypeName = &d.number[1], dns.TypeName(q.Type)
		if netbios {
			d.query = dns.NetBIOSName(q.Name)
			switch d.QTypeName {
			case "SRV": // the number is NetBIOS's node status
				d.QTypeName = "NBSTAT"
			}
		}
		d.Query = &d.query
	}
}

func (d *DNS) reply(c *conn, m *dns.Message) {
	now := c.now()
	d.number[2] = uint16(m.Rcode)
	d.Rcode, d.RcodeName = &d.number[2], dns.RcodeName(d.number[2])
	if m.Rcode != 0 && m.Counts[0] == 0 ||
		m.Counts[0] > 0 && m.Counts[1]+m.Counts[2]+m.Counts[3] == 0 {
		d.Rejected = true
	}
	update := m.Opcode == dns.OpUpdate
	for i := range m.Records {
		r := &m.Records[i]
		if r.Section != dns.Answer && !(update && r.Section == dns.Authority) || skipped(r) {
			continue
		}
		if d.Query == nil {
			d.query = r.Name
			d.Query = &d.query
		}
		d.AA, d.RA = m.AA, m.RA
		if d.RTT == nil && now > d.at {
			d.rtt = c.between(d.at, now)
			d.RTT = &d.rtt
		}
		text := r.Text
		if update {
			text = updateText(r)
		}
		if d.answerBytes += len(text); text != "" && d.answerBytes <= maxAnswerBytes {
			d.Answers = append(d.Answers, text)
			d.TTLs = append(d.TTLs, Seconds(int64(r.TTL)*second))
		}
	}
}

// updateText describes a prerequisite or a change of a dynamic update (RFC 2136
// §2.4, §2.5).
func updateText(r *dns.Record) string {
	const none, anyClass = 254, 255
	typ := dns.TypeName(r.Type)
	if r.Section == dns.Answer {
		switch {
		case r.Class == none && r.Type == dns.TypeANY:
			return "pre: NameNotInUse " + r.Name
		case r.Class == anyClass && r.Type == dns.TypeANY:
			return "pre: NameInUse " + r.Name
		case r.Class == none:
			return "pre: NoRRSet " + typ + " " + r.Name
		}
		return "pre: RRSetExists " + typ + " " + r.Name
	}
	switch {
	case r.Class == anyClass && r.Type == dns.TypeANY:
		return "del: RRSet * " + r.Name
	case r.Class == none:
		return "del: RR " + typ + " " + r.Name
	case r.Class == anyClass:
		return "del: RRSet " + typ
	case r.Type == dns.TypeA || r.Type == dns.TypeAAAA:
		return "add: " + typ + " " + r.Name + " " + r.Text
	}
	return "add: " + r.Text
}

// skipped: records that are not answers in themselves.
func skipped(r *dns.Record) bool {
	switch r.Type {
	case dns.TypeOPT, dns.TypeTKEY, dns.TypeTSIG, dns.TypeCAA, dns.TypeSVCB, dns.TypeHTTPS, dns.TypeNBS:
		return true
	}
	return false
}
