package volume

import (
	"errors"
	"strconv"
	"strings"
)

// section is a node of LVM2's configuration text (lvm.conf(5) syntax): values,
// lists and named sections.
type section struct {
	order  []string
	sub    map[string]*section
	values map[string]string
	lists  map[string][]string
}

func newSection() *section {
	return &section{sub: map[string]*section{}, values: map[string]string{}, lists: map[string][]string{}}
}

func (s *section) number(key string) uint64  { return number(s.values[key]) }
func (s *section) text(key string) string    { return s.values[key] }
func (s *section) words(key string) []string { return s.lists[key] }

// number is 0 for what is no number; no field read here may be.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0
	}
	return n
}

var errConfig = errors.New("metadata text: syntax")

type configParser struct {
	s string
	i int
}

// maxNesting bounds sections within sections; LVM2 uses four levels.
const maxNesting = 16

func parseConfig(text string) (*section, error) {
	p := &configParser{s: text}
	root := newSection()
	return root, p.section(root, 0)
}

func (p *configParser) section(into *section, depth int) error {
	if depth > maxNesting {
		return errConfig
	}
	for {
		t := p.token()
		switch t {
		case "":
			if depth == 0 {
				return nil
			}
			return errConfig
		case "}":
			if depth == 0 {
				return errConfig
			}
			return nil
		}
		switch p.token() {
		case "{":
			child := newSection()
			into.sub[t] = child
			into.order = append(into.order, t)
			if err := p.section(child, depth+1); err != nil {
				return err
			}
		case "=":
			if err := p.value(into, t); err != nil {
				return err
			}
		default:
			return errConfig
		}
	}
}

func (p *configParser) value(into *section, key string) error {
	t := p.token()
	if t != "[" {
		into.values[key] = strings.Trim(t, `"`)
		return nil
	}
	list := []string{}
	for {
		switch t := p.token(); t {
		case "":
			return errConfig
		case "]":
			into.lists[key] = list
			return nil
		case ",":
		default:
			list = append(list, strings.Trim(t, `"`))
		}
	}
}

// token is a punctuation mark, a quoted string with its quotes, or a word.
func (p *configParser) token() string {
	for p.i < len(p.s) {
		c := p.s[p.i]
		if c == '#' {
			for p.i < len(p.s) && p.s[p.i] != '\n' {
				p.i++
			}
		} else if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			p.i++
		} else {
			break
		}
	}
	if p.i == len(p.s) {
		return ""
	}
	start := p.i
	switch c := p.s[p.i]; c {
	case '{', '}', '[', ']', '=', ',':
		p.i++
	case '"':
		for p.i++; p.i < len(p.s) && p.s[p.i] != '"'; p.i++ {
			if p.s[p.i] == '\\' {
				p.i++
			}
		}
		p.i = min(p.i+1, len(p.s))
	default:
		for p.i < len(p.s) && !strings.ContainsRune(" \t\r\n{}[]=,#\"", rune(p.s[p.i])) {
			p.i++
		}
	}
	return p.s[start:p.i]
}
