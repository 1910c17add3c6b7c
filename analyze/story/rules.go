package story

import (
	"embed"
	"errors"
	"fmt"
	"slices"
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

// fields are the names an event of each category can have. Sigma's taxonomy for
// Linux where it has one; the rest is xentape's own.
var fields = map[string][]string{
	"process_creation": {"Image", "CommandLine", "CurrentDirectory", "ProcessId", "ParentProcessId", "ParentImage", "ParentCommandLine", "parent_comm",
		"uid", "comm", "grade", "container", "kernel_thread", "env", "exe_deleted", "exe_fs", "exe_memfd", "exe_sha256", "exe_written_during_recording",
		"exe_downloaded", "exe_downloaded_in_part", "exe_url", "imitates_kernel_thread", "shell", "anonymous_executable_memory", "stdio_socket", "stdio_peer",
		"raw_socket", "peer", "service", "started_for", "started_for_ip", "started_for_service", "outlived_request"},
	"file_event": {"TargetFilename", "SourceFilename", "Image", "ProcessId", "comm", "op", "type", "uid", "gid", "size", "setuid", "setgid", "executable",
		"sha256", "sha256_old", "added", "removed", "rewritten_in_place", "shortened", "rotated_beside", "downloaded", "downloaded_in_part", "url", "sent_to"},
	"network_connection": {"SourceIp", "SourcePort", "DestinationIp", "DestinationPort", "DestinationHostname", "Protocol", "Initiated", "Image", "ProcessId", "comm",
		"service", "conn_state", "history", "community_id", "orig_bytes", "resp_bytes", "socket_missing", "sent_file", "owner_grade"},
	"analyzer_finding": {"finding", "severity", "grade", "module", "TargetFilename", "ProcessId", "Image", "comm", "began", "DestinationIp", "DestinationPort"},
}

// ParseRules reads a user's rules. A rule that could never fire, because it is of a
// category or product that the story makes no events of, or looks at a field that
// they do not have, is refused: it would be silent for ever. Then the error joins
// a *sigma.RuleError of each, and the other rules are returned.
func ParseRules(name string, b []byte) ([]*Rule, error) {
	rs, err := sigma.Parse(name, b)
	var usable []*Rule
	for _, r := range rs {
		if why := unusable(r); why != nil {
			err = errors.Join(err, &sigma.RuleError{File: name, Title: r.Title, Err: why})
			continue
		}
		if r.ID == "" {
			r.ID = r.Title
		}
		usable = append(usable, r)
	}
	return usable, err
}

// RuleErrors takes apart the error of ParseRules: what is said of single rules. ok is
// false when it is of another kind.
func RuleErrors(err error) (each []error, ok bool) {
	var one *sigma.RuleError
	switch j, joined := err.(interface{ Unwrap() []error }); {
	case joined:
		for _, e := range j.Unwrap() {
			es, ok := RuleErrors(e)
			if !ok {
				return nil, false
			}
			each = append(each, es...)
		}
		return each, true
	case errors.As(err, &one):
		return []error{err}, true
	}
	return nil, false
}

func unusable(r *Rule) error {
	known, ok := fields[r.Category]
	if !ok {
		return fmt.Errorf("logsource.category %q: want process_creation, file_event, network_connection or analyzer_finding", r.Category)
	}
	if r.Product != "" && r.Product != "linux" {
		return fmt.Errorf("logsource.product %q: only linux guests are understood", r.Product)
	}
	for _, f := range r.Fields {
		if !slices.Contains(known, f) {
			return &sigma.FieldError{Field: f, Err: fmt.Errorf("events of category %s have no such field", r.Category)}
		}
	}
	return nil
}
