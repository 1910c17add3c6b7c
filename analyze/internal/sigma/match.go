package sigma

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

type matcher interface{ match(Event) bool }

type (
	anyOf    []matcher // a list of maps
	allOf    []matcher // the fields of a map
	keywords []test    // a list of values without a field
	field    struct {
		name   string
		tests  []test
		all    bool     // every test must hold, not one
		exists *bool    // |exists
		refs   []string // |fieldref: names of the fields to be equal to
	}
	not struct{ x matcher } // |neq
)

func (m not) match(e Event) bool { return !m.x.match(e) }

func (m anyOf) match(e Event) bool {
	for _, x := range m {
		if x.match(e) {
			return true
		}
	}
	return false
}

func (m allOf) match(e Event) bool {
	for _, x := range m {
		if !x.match(e) {
			return false
		}
	}
	return true
}

func (m keywords) match(e Event) bool {
	for _, s := range e.Text() {
		for _, t := range m {
			if t(s) {
				return true
			}
		}
	}
	return false
}

func (m *field) match(e Event) bool {
	values, ok := e.Field(m.name)
	if m.exists != nil {
		return ok == *m.exists
	}
	if m.refs != nil {
		return m.equals(e, values)
	}
	hit := func(t test) bool {
		if !ok {
			return t(nil)
		}
		for _, v := range values {
			if t(v) {
				return true
			}
		}
		return false
	}
	for _, t := range m.tests {
		if hit(t) != m.all {
			return !m.all
		}
	}
	return m.all
}

// equals reports whether a value is that of one of the fields referred to, or,
// with |all, of each.
func (m *field) equals(e Event, values []any) bool {
	for _, name := range m.refs {
		others, _ := e.Field(name)
		hit := false
		for _, v := range values {
			for _, o := range others {
				hit = hit || strings.EqualFold(text(v), text(o))
			}
		}
		if hit != m.all {
			return !m.all
		}
	}
	return m.all
}

// test looks at one value; nil stands for an absent field.
type test func(v any) bool

func compileSelection(n *yaml.Node) (matcher, error) {
	switch n.Kind {
	case yaml.MappingNode:
		var all allOf
		for i := 0; i+1 < len(n.Content); i += 2 {
			f, err := compileField(n.Content[i].Value, n.Content[i+1])
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
		if len(all) == 0 {
			return nil, errors.New("is empty")
		}
		return all, nil
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			return nil, errors.New("is empty")
		}
		if n.Content[0].Kind == yaml.ScalarNode {
			return compileKeywords(n)
		}
		var list anyOf
		for _, c := range n.Content {
			m, err := compileSelection(c)
			if err != nil {
				return nil, err
			}
			list = append(list, m)
		}
		return list, nil
	}
	return nil, errors.New("want a map, a list of maps or a list of words")
}

func compileKeywords(n *yaml.Node) (matcher, error) {
	var ks keywords
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode {
			return nil, errors.New("a list mixes words and maps")
		}
		re, err := wildcard("*"+c.Value+"*", false)
		if err != nil {
			return nil, err
		}
		ks = append(ks, stringTest(re))
	}
	return ks, nil
}

// modifiers are those of the specification's appendix that single events need.
var modifiers = map[string]bool{
	"contains": true, "startswith": true, "endswith": true, "all": true, "exists": true, "cased": true, "neq": true,
	"re": true, "i": true, "m": true, "s": true, "cidr": true, "lt": true, "lte": true, "gt": true, "gte": true, "fieldref": true,
	"base64": true, "base64offset": true, "wide": true, "utf16": true, "utf16le": true, "utf16be": true, "windash": true,
}

func compileField(key string, n *yaml.Node) (matcher, error) {
	parts := strings.Split(key, "|")
	f := &field{name: parts[0]}
	mods := map[string]bool{}
	for _, m := range parts[1:] {
		if !modifiers[m] {
			return nil, &FieldError{f.name, fmt.Errorf("modifier %q is not supported", m)}
		}
		mods[m] = true
	}
	if err := f.compile(n, parts[1:], mods); err != nil {
		return nil, &FieldError{key, err}
	}
	if mods["neq"] {
		return not{f}, nil
	}
	return f, nil
}

func (f *field) compile(n *yaml.Node, order []string, mods map[string]bool) error {
	f.all = mods["all"]
	values := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		values = n.Content
	}
	if len(values) == 0 {
		return errors.New("an empty list matches nothing")
	}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode {
			return errors.New("want a value or a list of values")
		}
		switch {
		case mods["exists"]:
			b, err := strconv.ParseBool(v.Value)
			if err != nil {
				return errors.New("want true or false")
			}
			f.exists = &b
			continue
		case mods["fieldref"]:
			f.refs = append(f.refs, v.Value)
			continue
		}
		t, err := compileValue(v, order, mods)
		if err != nil {
			return fmt.Errorf("value %q: %w", v.Value, err)
		}
		f.tests = append(f.tests, t)
	}
	return nil
}

func compileValue(v *yaml.Node, order []string, mods map[string]bool) (test, error) {
	if v.Tag == "!!null" {
		return func(x any) bool { return x == nil || x == "" }, nil
	}
	switch {
	case mods["re"]:
		flags := ""
		for _, m := range []string{"i", "m", "s"} {
			if mods[m] {
				flags += m
			}
		}
		if flags != "" {
			flags = "(?" + flags + ")"
		}
		re, err := regexp.Compile(flags + v.Value)
		if err != nil {
			return nil, err
		}
		return stringTest(re), nil
	case mods["i"] || mods["m"] || mods["s"]:
		return nil, errors.New("the modifiers i, m and s belong to re")
	case mods["cidr"]:
		p, err := netip.ParsePrefix(v.Value)
		if err != nil {
			return nil, err
		}
		return func(x any) bool {
			a, err := netip.ParseAddr(text(x))
			return x != nil && err == nil && p.Contains(a.Unmap())
		}, nil
	case mods["lt"], mods["lte"], mods["gt"], mods["gte"]:
		return compare(v.Value, mods)
	}
	values, literal, err := encode(v.Value, order)
	if err != nil {
		return nil, err
	}
	var tests []test
	for _, s := range values {
		if literal {
			tests = append(tests, bytesTest(s, mods))
			continue
		}
		if mods["contains"] || mods["endswith"] {
			s = "*" + s
		}
		if mods["contains"] || mods["startswith"] {
			s += "*"
		}
		re, err := wildcard(s, mods["cased"])
		if err != nil {
			return nil, err
		}
		tests = append(tests, stringTest(re))
	}
	return func(x any) bool {
		for _, t := range tests {
			if t(x) {
				return true
			}
		}
		return false
	}, nil
}

func compare(want string, mods map[string]bool) (test, error) {
	w, err := strconv.ParseFloat(want, 64)
	if err != nil {
		return nil, err
	}
	return func(x any) bool {
		v, err := strconv.ParseFloat(text(x), 64)
		if x == nil || err != nil {
			return false
		}
		return mods["lt"] && v < w || mods["lte"] && v <= w || mods["gt"] && v > w || mods["gte"] && v >= w
	}, nil
}

// bytesTest compares bytes, not a pattern, and not without case.
func bytesTest(s string, mods map[string]bool) test {
	compare := func(a, b string) bool { return a == b }
	switch {
	case mods["contains"]:
		compare = strings.Contains
	case mods["startswith"]:
		compare = strings.HasPrefix
	case mods["endswith"]:
		compare = strings.HasSuffix
	}
	return func(x any) bool { return x != nil && compare(text(x), s) }
}

func stringTest(re *regexp.Regexp) test {
	return func(x any) bool { return x != nil && re.MatchString(text(x)) }
}

// wildcard compiles a Sigma string: * is any run, ? any character, a backslash
// makes either of them, or a backslash, literal. Comparison ignores case unless
// cased.
func wildcard(s string, cased bool) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("(?s")
	if !cased {
		b.WriteByte('i')
	}
	b.WriteString(`)\A`)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`*?\`, s[i+1]) >= 0:
			i++
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteByte('.')
		case c < 0x80:
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
		default:
			b.WriteByte(c)
		}
	}
	b.WriteString(`\z`)
	return regexp.Compile(b.String())
}

func text(x any) string {
	switch x := x.(type) {
	case string:
		return x
	case int64:
		return strconv.FormatInt(x, 10)
	case uint64:
		return strconv.FormatUint(x, 10)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(x)
	case nil:
		return ""
	}
	return fmt.Sprint(x)
}
