package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFiftyCases makes a corpus of fifty cases out of scenarios and verifies it: as
// it is, with any number of workers, from its end to its beginning, and with one case
// changed. What it takes is logged.
func TestFiftyCases(t *testing.T) {
	dir := t.TempDir()
	for n := range 50 {
		path := filepath.Join(dir, fmt.Sprintf("scenario-%02d.yaml", n))
		require.NoError(t, os.WriteFile(path, []byte(scenario(n)), 0o644))
		outputs := "conns,story"
		if n%5 == 0 {
			outputs += ",files"
		}
		ok(t, "corpus", "add", "--name", fmt.Sprintf("case-%02d", n), "--origin", "synth", "--licence", "CC0-1.0",
			"--output", outputs, "--from", path, filepath.Join(dir, "cases", fmt.Sprintf("%02d", n)))
	}
	began := time.Now()
	two := ok(t, "corpus", "verify", "--workers", "2", filepath.Join(dir, "cases"))
	t.Logf("50 cases verified in %s", time.Since(began).Round(time.Millisecond))
	require.Contains(t, two, "50 passed, 0 failed")
	for _, workers := range []string{"1", "8"} {
		require.Equal(t, two, ok(t, "corpus", "verify", "--workers", workers, filepath.Join(dir, "cases")), workers)
	}
	// The folders' order is not the order of names: it must not show.
	for n := range 50 {
		require.NoError(t, os.Rename(filepath.Join(dir, "cases", fmt.Sprintf("%02d", n)), filepath.Join(dir, "cases", fmt.Sprintf("z%02d", 49-n))))
	}
	require.Equal(t, two, ok(t, "corpus", "verify", filepath.Join(dir, "cases")))

	changed := filepath.Join(dir, "cases", "z42", "expected", "conns.jsonl")
	b, err := os.ReadFile(changed)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(b), `"conn_state":"SF"`, `"conn_state":"S1"`, 1)), 0o644))
	r := xentape(t, "corpus", "verify", filepath.Join(dir, "cases"))
	require.Equal(t, exitVerification, r.code)
	require.Contains(t, r.out, "FAIL case-07")
	require.Contains(t, r.out, `conn_state: expected "S1", got "SF"`)
	require.Contains(t, r.out, "49 passed, 1 failed")
}

// scenario n: conversations in all, a disk in every fifth, a gap in every seventh.
func scenario(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: case-%02d\nstart: 2026-01-05T09:00:00Z\n", n)
	if n%5 == 0 {
		b.WriteString("disks: {xvda: {size: 4194304, tree: {/etc/passwd: \"root:x:0:0::/root:/bin/bash\\n\", /tmp/: \"\"}}}\n")
	}
	b.WriteString("events:\n")
	for k := range 20 + n {
		fmt.Fprintf(&b, "  - {at: %ds, dns: {server: 10.0.0.2, ask: h%d.example, answer: 198.51.100.7}}\n", 2*k, k)
		fmt.Fprintf(&b, "  - {at: %ds, http: {server: \"198.51.100.7:80\", host: h%d.example, get: /%d, body: \"case %d\"}}\n", 2*k+1, k, k, n)
	}
	if n%5 == 0 {
		fmt.Fprintf(&b, "  - {at: 9s, file: {disk: xvda, do: create, path: /tmp/f%d, text: \"#!/bin/sh\\n\", mode: 0o755}}\n", n)
	}
	if n%7 == 0 {
		b.WriteString("  - {at: 5500ms, gap: {stream: vif0, until: 7500ms, reason: overflow, hide: true}}\n")
	}
	return b.String()
}

// TestATeamsOwnRule: what a rule of one's own says of a case is a difference until it
// is expected, and then its silence is one.
func TestATeamsOwnRule(t *testing.T) {
	dir := t.TempDir()
	cases := filepath.Join(dir, "cases")
	require.NoError(t, os.CopyFS(filepath.Join(cases, "made-dropper"), os.DirFS(shipped+"/made-dropper")))
	rule := filepath.Join(dir, "our-rules.yml")
	require.NoError(t, os.WriteFile(rule, []byte(`title: A program of ours speaks to a host outside
id: our-rule
logsource: {category: network_connection, product: linux}
detection:
  plain: {DestinationPort: 80}
  condition: plain
level: medium
`), 0o644))
	r := xentape(t, "corpus", "verify", "--rules", rule, cases)
	require.Equal(t, exitVerification, r.code)
	require.Contains(t, r.out, "story added")
	require.Contains(t, r.out, "A program of ours speaks to a host outside")
	ok(t, "corpus", "update", "--rules", rule, cases)
	ok(t, "corpus", "verify", "--rules", rule, cases)
	r = xentape(t, "corpus", "verify", cases)
	require.Equal(t, exitVerification, r.code)
	require.Contains(t, r.out, "story missing")
}
