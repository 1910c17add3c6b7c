package story

import (
	"embed"
	"fmt"
	"sort"

	"github.com/xentape/xentape/analyze/internal/sigma"
)

//go:embed rules/*.yml
var builtin embed.FS

// Rule is one rule over the joined model.
type Rule = sigma.Rule

// Rules returns the rules that come with xentape, sorted by file and place.
func Rules() ([]*Rule, error) {
	entries, err := builtin.ReadDir("rules")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	var all []*Rule
	for _, n := range names {
		b, err := builtin.ReadFile("rules/" + n)
		if err != nil {
			return nil, err
		}
		rs, err := ParseRules(n, b)
		if err != nil {
			return nil, err
		}
		all = append(all, rs...)
	}
	return all, nil
}

// categories are the kinds of event the story makes, by Sigma's names.
var categories = map[string]bool{"process_creation": true, "file_event": true, "network_connection": true, "analyzer_finding": true}

// ParseRules reads a user's rules. A rule of a category or product that the
// story never makes events of is refused: it would be silent for ever.
func ParseRules(name string, b []byte) ([]*Rule, error) {
	rs, err := sigma.Parse(name, b)
	if err != nil {
		return nil, err
	}
	for _, r := range rs {
		if !categories[r.Category] {
			return nil, fmt.Errorf("%s: rule %q: logsource.category %q: want process_creation, file_event, network_connection or analyzer_finding", name, r.Title, r.Category)
		}
		if r.Product != "" && r.Product != "linux" {
			return nil, fmt.Errorf("%s: rule %q: logsource.product %q: only linux guests are understood", name, r.Title, r.Product)
		}
	}
	return rs, nil
}
