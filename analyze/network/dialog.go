package network

import (
	"bytes"
	"slices"
	"strings"
)

// maxDialogLine bounds a line of a text protocol; the rest of a longer one is
// skipped.
const maxDialogLine = 4 << 10

// A dialog is a text protocol of commands and replies, followed as far as it
// takes to name it, to see it turn into TLS, and to see connections announced.
type dialog struct {
	rules  dialogRules
	line   [2][]byte
	tls    bool // the client asked for TLS
	prompt string
}

// verdict is what a line means for the dialog.
type verdict uint8

const (
	goOn     verdict = iota
	confirm          // it is this protocol
	startTLS         // TLS begins with the next byte
	leave            // nothing more to learn
)

// dialogRules say what the lines of one protocol mean.
type dialogRules interface {
	line(c *conn, d *dialog, isOrig bool, line string) verdict
	name() string
}

func (d *dialog) data(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	for len(b) > 0 {
		n := bytes.IndexByte(b, '\n')
		piece := b
		if n >= 0 {
			piece = b[:n]
		}
		room := maxDialogLine - len(d.line[i])
		d.line[i] = append(d.line[i], piece[:min(room, len(piece))]...)
		if n < 0 {
			return true
		}
		b = b[n+1:]
		line := strings.TrimRight(string(d.line[i]), "\r")
		d.line[i] = d.line[i][:0]
		switch d.rules.line(c, d, isOrig, line) {
		case confirm:
			c.addService(d.rules.name())
		case startTLS:
			c.addService(d.rules.name())
			c.app.reopen()
			if len(b) > 0 {
				c.app.identify(c, isOrig, b)
			}
			return false
		case leave:
			return false
		}
	}
	return true
}

func (d *dialog) gap(_ *conn, isOrig bool, _ uint64) bool {
	d.line[side(isOrig)] = d.line[side(isOrig)][:0]
	return true
}

func (d *dialog) eof(*conn, bool) {}
func (d *dialog) finish(*conn)    {}

// command splits a line into its first word, in upper case, and the rest.
func command(line string) (word, rest string) {
	word, rest, _ = strings.Cut(strings.TrimLeft(line, " \t"), " ")
	return strings.ToUpper(word), strings.TrimSpace(rest)
}

// replyCode returns the three digits a reply begins with, or "". last is false
// for lines of a multi-line reply but the last (RFC 959 §4.2).
func replyCode(line string) (code string, last bool) {
	if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
		return "", false
	}
	return line[:3], len(line) == 3 || line[3] == ' '
}

var smtpCommands = []string{
	"EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT", "RSET", "VRFY", "EXPN", "HELP", "NOOP", "STARTTLS", "BDAT",
	"ETRN", "AUTH", "TURN", "SEND", "SOML", "SAML", "X-ANONYMOUSTLS",
}

// smtp: RFC 5321, STARTTLS of RFC 3207.
type smtp struct{}

func (smtp) name() string { return "smtp" }

func (smtp) line(c *conn, d *dialog, isOrig bool, line string) verdict {
	if isOrig {
		word, _ := command(line)
		d.tls = word == "STARTTLS" || word == "X-ANONYMOUSTLS"
		if slices.Contains(smtpCommands, word) {
			return confirm
		}
		return goOn
	}
	code, last := replyCode(line)
	if (code < "100" || code > "599") && c.violation("smtp") {
		return leave
	}
	if d.tls && last {
		if code == "220" {
			return startTLS
		}
		d.tls = false
	}
	return goOn
}

// maxPipelined bounds the commands remembered until they are answered.
const maxPipelined = 64

// pop3: RFC 1939, STLS of RFC 2595. Commands may be sent ahead of replies.
type pop3 struct {
	waiting []string
	listing bool // within a reply of several lines
}

func (*pop3) name() string { return "pop3" }

func (p *pop3) line(_ *conn, _ *dialog, isOrig bool, line string) verdict {
	if isOrig {
		if word, rest := command(line); len(p.waiting) < maxPipelined {
			if (word == "LIST" || word == "UIDL") && rest != "" {
				word += " ONE"
			}
			p.waiting = append(p.waiting, word)
		}
		return goOn
	}
	if p.listing {
		p.listing = line != "."
		return goOn
	}
	ok := strings.HasPrefix(line, "+OK")
	if !ok && !strings.HasPrefix(line, "-ERR") || len(p.waiting) == 0 {
		return goOn // the greeting, or a continuation of authentication
	}
	word := p.waiting[0]
	p.waiting = p.waiting[1:]
	if !ok {
		return goOn
	}
	switch word {
	case "CAPA", "AUTH":
		p.listing = true
		return confirm
	case "LIST", "UIDL", "RETR", "TOP":
		p.listing = true
	case "USER", "PASS", "APOP":
		return confirm
	case "STLS":
		return startTLS
	}
	return goOn
}

// imap: RFC 9051.
type imap struct{}

func (imap) name() string { return "imap" }

func (imap) line(_ *conn, d *dialog, isOrig bool, line string) verdict {
	tag, rest := command(line)
	word, _ := command(rest)
	if isOrig {
		if word == "STARTTLS" {
			d.tls, d.prompt = true, tag
		}
		return goOn
	}
	if d.tls && tag == d.prompt {
		d.tls = false
		if word == "OK" {
			return startTLS
		}
	}
	if tag == "*" && word == "OK" {
		return confirm
	}
	return goOn
}

var ircCommands = []string{
	"USER", "NICK", "JOIN", "PRIVMSG", "NOTICE", "PASS", "MODE", "PART", "QUIT", "PING", "PONG", "WHO", "WHOIS",
	"LIST", "TOPIC", "KICK", "INVITE", "OPER", "CAP", "STARTTLS", "SERVER", "SQUIT", "NAMES", "AWAY", "ISON",
}

// irc: RFC 1459, STARTTLS and DCC as servers and clients do them.
type irc struct{}

func (irc) name() string { return "irc" }

func (irc) line(c *conn, d *dialog, isOrig bool, line string) verdict {
	rest := line
	if strings.HasPrefix(line, ":") {
		_, rest, _ = strings.Cut(line, " ")
	}
	word, _ := command(rest)
	if i := strings.Index(line, "\x01DCC SEND "); i >= 0 {
		c.expectDCC(line[i+len("\x01DCC SEND "):])
	}
	switch {
	case isOrig && slices.Contains(ircCommands, word):
		d.tls = d.tls || word == "STARTTLS"
		return confirm
	case !isOrig && word == "670" && d.tls: // RPL_STARTTLS
		return startTLS
	}
	return goOn
}

// xmpp: RFC 6120. Elements are found by their names; lines do not matter.
type xmpp struct {
	seen [2]string
}

func (p *xmpp) data(c *conn, isOrig bool, b []byte) bool {
	i := side(isOrig)
	p.seen[i] += string(b)
	if isOrig && strings.Contains(p.seen[i], "<stream:stream") {
		c.addService("xmpp")
	}
	if strings.Contains(p.seen[i], "<proceed") {
		if j := strings.Index(p.seen[i], "<proceed"); strings.Contains(p.seen[i][j:], ">") {
			c.app.reopen()
			return false
		}
	}
	if len(p.seen[i]) > maxDialogLine { // keep enough for a name that is cut
		p.seen[i] = p.seen[i][len(p.seen[i])-64:]
	}
	return true
}

func (p *xmpp) gap(*conn, bool, uint64) bool { return true }
func (p *xmpp) eof(*conn, bool)              {}
func (p *xmpp) finish(*conn)                 {}
