package sigma

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
)

// The grammar of conditions, loosest binding first:
//
//	expr   = and { "or" and }
//	and    = unary { "and" unary }
//	unary  = "not" unary | "(" expr ")" | quant | NAME
//	quant  = ("1" | "any" | "all") "of" ("them" | NAME-with-*)
type expr interface{ eval(*Rule, Event) bool }

type (
	orExpr  []expr
	andExpr []expr
	notExpr struct{ x expr }
	selExpr string
	ofExpr  struct {
		all   bool
		names []string
	}
)

func (x orExpr) eval(r *Rule, e Event) bool {
	for _, y := range x {
		if y.eval(r, e) {
			return true
		}
	}
	return false
}

func (x andExpr) eval(r *Rule, e Event) bool {
	for _, y := range x {
		if !y.eval(r, e) {
			return false
		}
	}
	return true
}

func (x notExpr) eval(r *Rule, e Event) bool { return !x.x.eval(r, e) }
func (x selExpr) eval(r *Rule, e Event) bool { return r.selections[string(x)].match(e) }

func (x ofExpr) eval(r *Rule, e Event) bool {
	for _, n := range x.names {
		if r.selections[n].match(e) != x.all {
			return !x.all
		}
	}
	return x.all
}

// maxDepth bounds nesting: a condition is written by a person.
const maxDepth = 64

type parser struct {
	tokens []string
	sels   map[string]matcher
	depth  int
}

func parseCondition(s string, sels map[string]matcher) (expr, error) {
	if strings.Contains(s, "|") {
		return nil, errors.New("aggregations (|) are not supported")
	}
	s = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s)
	p := &parser{tokens: strings.Fields(s), sels: sels}
	if len(p.tokens) == 0 {
		return nil, errors.New("is empty")
	}
	x, err := p.or()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("unexpected %q", p.tokens[0])
	}
	return x, err
}

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return strings.ToLower(p.tokens[0])
}

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *parser) or() (expr, error) {
	x, err := p.and()
	if err != nil || p.peek() != "or" {
		return x, err
	}
	all := orExpr{x}
	for p.peek() == "or" {
		p.next()
		y, err := p.and()
		if err != nil {
			return nil, err
		}
		all = append(all, y)
	}
	return all, nil
}

func (p *parser) and() (expr, error) {
	x, err := p.unary()
	if err != nil || p.peek() != "and" {
		return x, err
	}
	all := andExpr{x}
	for p.peek() == "and" {
		p.next()
		y, err := p.unary()
		if err != nil {
			return nil, err
		}
		all = append(all, y)
	}
	return all, nil
}

func (p *parser) unary() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("is nested too deep")
	}
	defer func() { p.depth-- }()
	switch t := p.next(); strings.ToLower(t) {
	case "":
		return nil, errors.New("ends too early")
	case "not":
		x, err := p.unary()
		return notExpr{x}, err
	case "(":
		x, err := p.or()
		if err == nil && p.next() != ")" {
			err = errors.New("a parenthesis is not closed")
		}
		return x, err
	case "1", "any", "all":
		if p.peek() != "of" {
			if _, ok := p.sels[t]; ok {
				return selExpr(t), nil
			}
			return nil, fmt.Errorf("%q: want \"of\" after it", t)
		}
		p.next()
		return p.of(strings.ToLower(t) == "all", p.next())
	default:
		if _, ok := p.sels[t]; !ok {
			return nil, fmt.Errorf("no selection %q", t)
		}
		return selExpr(t), nil
	}
}

// of resolves "them" (every selection whose name does not begin with _) or a
// pattern.
func (p *parser) of(all bool, pattern string) (expr, error) {
	var names []string
	for n := range p.sels {
		if pattern == "them" {
			if !strings.HasPrefix(n, "_") {
				names = append(names, n)
			}
			continue
		}
		if ok, err := path.Match(pattern, n); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		} else if ok {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no selection is named %q", pattern)
	}
	sort.Strings(names)
	return ofExpr{all, names}, nil
}
