package network

import (
	"slices"
	"strings"

	"github.com/xentape/xentape/analyze/internal/dns"
)

// Bounds of what is buffered to follow the content of streams.
const (
	maxHeld     = 8 << 20 // bytes above holes, per shard
	prefixBytes = 2048    // of each direction, kept until the protocol is known
	maxServices = 16
	maxTries    = 16 // pieces of a stream looked at for a protocol
)

// content is what a shard found inside its connections.
type content struct {
	held     int
	prefixes [][]byte // buffers for them that are not in use
	expected map[expectation]string
	certs    certs
	message  dns.Message // the one in hand; its parts are used again
	dns      []*DNS
	http     []*HTTP
	tls      []*TLS
	ssh      []*SSH
	quic     []*QUIC
	files    []*File
	streams  []*File
}

// A parser follows one application protocol in one TCP connection. Bytes of
// each direction come in order; a hole is announced before the bytes after it.
type parser interface {
	// data returns false when the protocol is not what it was taken for, or
	// nothing more is to be learned; the parser is then done.
	data(c *conn, isOrig bool, b []byte) bool
	gap(c *conn, isOrig bool, n uint64) bool
	eof(c *conn, isOrig bool)
	finish(c *conn) // the connection is over
}

// app is the application side of one connection; what every packet needs comes
// first.
type app struct {
	parsers   []parser
	parserBuf [1]parser
	plain     *plain // until a protocol is found
	open      bool   // the protocol is still to be found
	respond   bool   // the responder spoke first
	tries     int
	dir       [2]direction
	dns       []*DNS
	http      []*HTTP
	tls       *TLS
	ssh       *SSH
	quic      *QUIC
	udp       udpParser
	udpTries  int
	udpSeen   int
}

// direction is the content side of one half of a TCP stream.
type direction struct {
	prefix []byte // first bytes, until the protocol is known
	lost   bool   // the first bytes are incomplete
	held   []held // bytes above a hole, by position
}

type held struct {
	seq  uint64
	data []byte
}

// attach gives a new connection its application side.
func (s *shard) attach(c *conn) {
	if c.app == nil {
		c.app = new(app)
	}
	a := c.app
	if c.tcp == nil {
		a.udp = s.udpParser(c)
		return
	}
	a.open = true
	a.parsers = a.parserBuf[:0]
	if s.opt.Streams {
		a.plain = &plain{}
	}
	if name := s.content.expects(c); name != "" {
		a.plain = nil
		a.open = false
		source := "FTP_DATA"
		if name == "irc-dcc-data" {
			source = "IRC_DATA"
		}
		a.parsers = append(a.parsers, &announced{service: name, source: source})
	}
}

// contentNext delivers the next bytes of a direction.
func (c *conn) contentNext(isOrig bool, b []byte) {
	a := c.app
	if a == nil || len(b) == 0 {
		return
	}
	if a.plain != nil {
		a.plain.data(c, isOrig, b)
	}
	if !a.open && len(a.parsers) == 0 {
		return
	}
	searching := a.open // a parser may reopen the search for the bytes after these
	a.each(func(p parser) bool { return p.data(c, isOrig, b) })
	if searching && a.open {
		a.identify(c, isOrig, b)
	}
}

// each calls f for the parsers there are, dropping those that return false.
// Parsers may add others while they run.
func (a *app) each(f func(parser) bool) {
	for i := 0; i < len(a.parsers); {
		p := a.parsers[i]
		if f(p) {
			i++
			continue
		}
		if j := slices.Index(a.parsers, p); j >= 0 {
			a.parsers = slices.Delete(a.parsers, j, j+1)
		}
	}
}

// contentAbove keeps bytes that arrived above a hole, while there is room.
func (c *conn) contentAbove(isOrig bool, seq uint64, b []byte) {
	a := c.app
	if a == nil || !a.open && len(a.parsers) == 0 && a.plain == nil || c.shard.content.held+len(b) > maxHeld {
		return
	}
	c.shard.content.held += len(b)
	d := &a.dir[side(isOrig)]
	i, _ := slices.BinarySearchFunc(d.held, seq, func(h held, s uint64) int {
		if h.seq < s {
			return -1
		}
		return 1
	})
	d.held = slices.Insert(d.held, i, held{seq, slices.Clone(b)})
}

// contentFill delivers the kept bytes between two positions.
func (c *conn) contentFill(isOrig bool, from, to uint64) {
	a := c.app
	if a == nil {
		return
	}
	d := &a.dir[side(isOrig)]
	for len(d.held) > 0 && d.held[0].seq < to {
		h := d.held[0]
		d.held = d.held[1:]
		c.shard.content.held -= len(h.data)
		end := h.seq + uint64(len(h.data))
		if end <= from {
			continue
		}
		if h.seq > from { // there was no room for these
			c.contentGap(isOrig, h.seq-from)
			from = h.seq
		}
		b := h.data[from-h.seq:]
		if end > to {
			b = b[:len(b)-int(end-to)]
		}
		from += uint64(len(b))
		c.contentNext(isOrig, b)
	}
	if len(d.held) == 0 {
		d.held = nil
	}
	if from < to {
		c.contentGap(isOrig, to-from)
	}
}

// contentGap says that n bytes of a direction are missing.
func (c *conn) contentGap(isOrig bool, n uint64) {
	a := c.app
	if a == nil {
		return
	}
	if a.plain != nil {
		a.plain.gap(c, isOrig, n)
	}
	a.each(func(p parser) bool { return p.gap(c, isOrig, n) })
	if a.open {
		a.dir[side(isOrig)].lost = true
		if len(a.dir[side(isOrig)].prefix) > 0 {
			a.settle(c)
		}
	}
}

// contentStop gives up following a direction.
func (c *conn) contentStop(isOrig bool) {
	if a := c.app; a != nil {
		c.shard.stats.Unparsed++
		c.release(isOrig)
		a.settle(c)
		a.plain = nil
		a.each(func(p parser) bool { return p.gap(c, isOrig, 1) })
		a.each(func(p parser) bool { p.finish(c); return false })
	}
}

func (c *conn) release(isOrig bool) {
	d := &c.app.dir[side(isOrig)]
	for _, h := range d.held {
		c.shard.content.held -= len(h.data)
	}
	d.held = nil
}

func (c *conn) contentEOF(isOrig bool) {
	if a := c.app; a != nil {
		if a.plain != nil {
			a.plain.eof(isOrig)
		}
		a.each(func(p parser) bool { p.eof(c, isOrig); return true })
	}
}

func (c *conn) contentFlip() {
	if a := c.app; a != nil {
		a.dir[0], a.dir[1] = a.dir[1], a.dir[0]
		if a.plain != nil {
			a.plain.dir[0], a.plain.dir[1] = a.plain.dir[1], a.plain.dir[0]
		}
	}
}

// finish ends the content of a connection.
func (a *app) finish(c *conn) {
	c.release(true)
	c.release(false)
	a.settle(c)
	a.each(func(p parser) bool { p.finish(c); return false })
	if a.udp != nil {
		a.udp.finish(c)
	}
	if a.plain != nil {
		a.plain.finish(c)
	}
}

func (a *app) describe(r *Conn) {
	r.DNS, r.HTTP, r.TLS, r.SSH, r.QUIC = a.dns, a.http, a.tls, a.ssh, a.quic
}

// addService notes an application protocol that was confirmed.
func (c *conn) addService(name string) {
	if len(c.services) < maxServices && !slices.Contains(c.services, name) {
		c.services = append(c.services, name)
	}
	switch name {
	case "ssh", "ftp":
		c.inactivity = inactivityLogin
	}
}

// confirm notes a protocol that is followed from its beginning. Of a connection
// that was joined in mid-stream what was said is recorded, but its service is
// not claimed (as Zeek's analyzers do not run on it).
func (c *conn) confirm(name string) {
	if c.tcp == nil || !c.tcp.partial {
		c.addService(name)
	}
}

// violationBytes: what contradicts a protocol after so many bytes of payload does
// not make it another one (Zeek's DPD::ignore_violations_after).
const violationBytes = 10 << 10

// violation takes back a service whose rules were broken, and reports whether it
// was.
func (c *conn) violation(name string) bool {
	if o, r := c.sizes(); o+r > violationBytes {
		return false
	}
	c.dropService(name)
	return true
}

func (c *conn) dropService(name string) {
	c.services = slices.DeleteFunc(c.services, func(s string) bool { return s == name })
}

func (c *conn) service() string { return strings.Join(c.services, ",") }

// enabled reports whether a protocol is looked for.
func (c *conn) enabled(name string) bool { return c.ports.enabled[name] }

// Header is what records of content have in common with their connection.
type Header struct {
	TS  Seconds `json:"ts"` // wall clock
	UID string  `json:"uid"`
	ID
	FirstRecord uint64 `json:"first_record"` // packet records it was read from: the first and the last
	LastRecord  uint64 `json:"last_record"`
	Uncertain   bool   `json:"uncertain,omitempty"` // packets of its connection may be missing from the tape
	at          int64  // ns of the tape
}

// header starts a record of content at the current packet.
func (c *conn) header() Header {
	return Header{UID: c.uid(), ID: c.id(), at: c.now(), FirstRecord: c.lastRec, LastRecord: c.lastRec}
}

// now is the time of the packet in hand, or else of the last, ns of the tape.
func (c *conn) now() int64 {
	if c.inHand {
		return c.at
	}
	return c.last
}
