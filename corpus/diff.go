package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
)

// A Difference is one finding that is not as expected.
type Difference struct {
	Output string // "ps", "files", "conns", "story"
	Kind   string // "added", "missing" or "changed"
	Key    string // what names the finding to a reader
	Fields []FieldChange
}

// FieldChange is one field of a finding, as JSON text; "" = the field is absent.
type FieldChange struct{ Name, Want, Got string }

// identity lists, for each output, the fields that make two lines the same
// finding. The remaining fields are compared.
var identity = map[string][]string{
	"ps":    {"pid", "start_time", "task_address", "snapshot"},
	"files": {"disk", "op", "path", "old_path", "inode", "first_record"},
	"conns": {"id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "ts"},
	"story": {"kind", "time", "summary"},
}

// title lists the fields a reader knows a finding by.
var title = map[string][]string{
	"ps":    {"pid", "comm", "snapshot"},
	"files": {"op", "path"},
	"conns": {"proto", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"},
	"story": {"time", "kind", "summary"},
}

type finding struct {
	key    string
	fields map[string]json.RawMessage
	order  int
}

// Diff compares two outputs of JSON lines and returns the differences in a
// stable order: by key, then by position.
func Diff(output string, want, got []byte) ([]Difference, error) {
	if bytes.Equal(want, got) {
		return nil, nil
	}
	w, err := parse(output, want)
	if err != nil {
		return nil, fmt.Errorf("expected %s: %w", output, err)
	}
	g, err := parse(output, got)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", output, err)
	}
	byKey := map[string][]finding{}
	for _, f := range g {
		byKey[f.key] = append(byKey[f.key], f)
	}
	var out []Difference
	for _, f := range w {
		same := byKey[f.key]
		if len(same) == 0 {
			out = append(out, Difference{Output: output, Kind: "missing", Key: name(output, f)})
			continue
		}
		byKey[f.key] = same[1:]
		if ch := changes(f.fields, same[0].fields); len(ch) > 0 {
			out = append(out, Difference{Output: output, Kind: "changed", Key: name(output, f), Fields: ch})
		}
	}
	for _, f := range g {
		if rest := byKey[f.key]; len(rest) > 0 && rest[0].order == f.order {
			byKey[f.key] = rest[1:]
			out = append(out, Difference{Output: output, Kind: "added", Key: name(output, f)})
		}
	}
	if len(out) == 0 {
		out = append(out, Difference{Output: output, Kind: "changed", Key: "the order of findings, or their spelling as JSON"})
	}
	return out, nil
}

func parse(output string, b []byte) ([]finding, error) {
	var all []finding
	d := json.NewDecoder(bytes.NewReader(b))
	for {
		var m map[string]json.RawMessage
		err := d.Decode(&m)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		f := finding{fields: m, order: len(all)}
		f.key = join(m, identity[output], true)
		all = append(all, f)
	}
}

func join(m map[string]json.RawMessage, names []string, always bool) string {
	var parts []string
	for _, n := range names {
		v, ok := m[n]
		if !ok && !always {
			continue
		}
		parts = append(parts, string(v))
	}
	return strings.Join(parts, " ")
}

func name(output string, f finding) string {
	if s := join(f.fields, title[output], false); s != "" {
		return s
	}
	var keys []string
	for k := range f.fields {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return "{" + strings.Join(keys, ", ") + "}"
}

func changes(want, got map[string]json.RawMessage) []FieldChange {
	names := map[string]bool{}
	for n := range want {
		names[n] = true
	}
	for n := range got {
		names[n] = true
	}
	var out []FieldChange
	for n := range names {
		if !bytes.Equal(compact(want[n]), compact(got[n])) {
			out = append(out, FieldChange{n, string(want[n]), string(got[n])})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func compact(r json.RawMessage) []byte {
	var b bytes.Buffer
	if r == nil || json.Compact(&b, r) != nil {
		return r
	}
	return b.Bytes()
}
