// Package sigma evaluates Sigma rules (the Sigma specification 2.0, section
// "Rules": detection, modifiers, condition) over events given as fields and
// values.
//
// It implements what single-event rules use: maps, lists of maps and keyword
// lists as selections; the modifiers contains, startswith, endswith, re (i, m, s),
// cidr, all, exists, cased, neq, fieldref, lt, lte, gt, gte, base64, base64offset,
// wide and utf16, windash; wildcards; and the whole grammar of conditions. A rule
// that needs more (correlation, aggregation, placeholders) is refused when it is
// loaded, not ignored when it is run.
package sigma

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// Rule is one compiled rule.
type Rule struct {
	Title          string
	ID             string
	Description    string
	Level          string // informational, low, medium, high, critical
	Category       string // logsource.category: what kind of event it looks at
	Product        string // logsource.product; "" = any
	Tags           []string
	FalsePositives []string

	// Fields are the names that the selections look at, sorted.
	Fields []string

	condition  expr
	selections map[string]matcher
}

// Levels in ascending order.
var Levels = []string{"informational", "low", "medium", "high", "critical"}

// Event gives the values of a field. Values are strings, int64, uint64, float64
// or bool; a field with several values matches if any does. ok is false when the
// event has no such field.
type Event interface {
	Field(name string) (values []any, ok bool)
	// Text lists all values, for keyword selections that name no field.
	Text() []string
}

type document struct {
	Title       string                             `yaml:"title"`
	ID          string                             `yaml:"id"`
	Description string                             `yaml:"description"`
	Level       string                             `yaml:"level"`
	Tags        []string                           `yaml:"tags"`
	False       []string                           `yaml:"falsepositives"`
	Source      struct{ Category, Product string } `yaml:"logsource"`
	Detection   map[string]yaml.Node               `yaml:"detection"`
	Correlation yaml.Node                          `yaml:"correlation"`
	Action      string                             `yaml:"action"`
}

// RuleError is why one rule of a file cannot be used; the others can.
type RuleError struct {
	File, Title string
	Err         error
}

func (e *RuleError) Error() string { return fmt.Sprintf("%s: rule %q: %v", e.File, e.Title, e.Err) }
func (e *RuleError) Unwrap() error { return e.Err }

// FieldError names the field of a selection that is the reason.
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// Parse compiles every rule of a YAML stream. name is for messages. When some
// rules cannot be used, it returns the others and an error that joins a
// *RuleError of each; another error means that it is no stream of rules.
func Parse(name string, b []byte) ([]*Rule, error) {
	var rules []*Rule
	var refused []error
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var d document
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r, err := compile(&d)
		if err != nil {
			refused = append(refused, &RuleError{File: name, Title: d.Title, Err: err})
			continue
		}
		rules = append(rules, r)
	}
	if refused != nil {
		return rules, errors.Join(refused...)
	}
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s: no rule in it", name)
	}
	return rules, nil
}

func compile(d *document) (*Rule, error) {
	r := &Rule{Title: d.Title, ID: d.ID, Description: d.Description, Level: d.Level, Category: d.Source.Category,
		Product: d.Source.Product, Tags: d.Tags, FalsePositives: d.False, selections: map[string]matcher{}}
	switch {
	case d.Title == "":
		return nil, errors.New("title is missing")
	case !d.Correlation.IsZero():
		return nil, errors.New("correlation rules are not supported")
	case d.Action != "":
		return nil, fmt.Errorf("action %q (rule collections) is not supported", d.Action)
	}
	if r.Level == "" {
		r.Level = "medium"
	}
	if sort.SearchStrings(sortedLevels, r.Level) == len(sortedLevels) || sortedLevels[sort.SearchStrings(sortedLevels, r.Level)] != r.Level {
		return nil, fmt.Errorf("level %q: want one of %q", r.Level, Levels)
	}
	var condition string
	for name, node := range d.Detection {
		switch name {
		case "condition":
			if node.Kind != yaml.ScalarNode {
				return nil, errors.New("detection.condition: want one string")
			}
			condition = node.Value
		case "timeframe":
			return nil, errors.New("detection.timeframe is not supported: it needs correlation")
		default:
			m, err := compileSelection(&node)
			if err != nil {
				return nil, fmt.Errorf("detection.%s: %w", name, err)
			}
			r.selections[name] = m
			r.collect(&node)
		}
	}
	sort.Strings(r.Fields)
	if len(r.selections) == 0 {
		return nil, errors.New("detection has no selection")
	}
	var err error
	r.condition, err = parseCondition(condition, r.selections)
	if err != nil {
		return nil, fmt.Errorf("detection.condition %q: %w", condition, err)
	}
	return r, nil
}

// collect notes the fields of a selection.
func (r *Rule) collect(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			r.collect(c)
		}
		return
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, _, _ := strings.Cut(n.Content[i].Value, "|")
		if !slices.Contains(r.Fields, name) {
			r.Fields = append(r.Fields, name)
		}
	}
}

var sortedLevels = func() []string {
	s := append([]string(nil), Levels...)
	sort.Strings(s)
	return s
}()

// Match reports whether the event is what the rule looks for.
func (r *Rule) Match(e Event) bool { return r.condition.eval(r, e) }
