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
		all    bool  // every test must hold, not one
		exists *bool // |exists
	}
)

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

func compileField(key string, n *yaml.Node) (*field, error) {
	parts := strings.Split(key, "|")
	f := &field{name: parts[0]}
	mods := map[string]bool{}
	for _, m := range parts[1:] {
		switch m {
		case "contains", "startswith", "endswith", "re", "cidr", "all", "exists", "cased", "lt", "lte", "gt", "gte":
			mods[m] = true
		default:
			return nil, fmt.Errorf("%s: modifier %q is not supported", f.name, m)
		}
	}
	f.all = mods["all"]
	values := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		values = n.Content
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%s: an empty list matches nothing", f.name)
	}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("%s: want a value or a list of values", f.name)
		}
		if mods["exists"] {
			b, err := strconv.ParseBool(v.Value)
			if err != nil {
				return nil, fmt.Errorf("%s|exists: want true or false", f.name)
			}
			f.exists = &b
			continue
		}
		t, err := compileValue(v, mods)
		if err != nil {
			return nil, fmt.Errorf("%s: value %q: %w", key, v.Value, err)
		}
		f.tests = append(f.tests, t)
	}
	return f, nil
}

func compileValue(v *yaml.Node, mods map[string]bool) (test, error) {
	if v.Tag == "!!null" {
		return func(x any) bool { return x == nil || x == "" }, nil
	}
	switch {
	case mods["re"]:
		re, err := regexp.Compile(v.Value)
		if err != nil {
			return nil, err
		}
		return stringTest(re), nil
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
	s := v.Value
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
	return stringTest(re), nil
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
