package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const usableRule = "title: A question about evil\nid: ours\nlevel: low\nlogsource: {category: network_connection, product: linux}\ndetection: {s: {DestinationHostname|endswith: .example}, condition: s}\n"

// TestRulesOfAFile: a rule that cannot be used is an error that names the file, the
// rule and the field.
func TestRulesOfAFile(t *testing.T) {
	path, dir := tape(t)
	ours := filepath.Join(dir, "ours.yml")
	require.NoError(t, os.WriteFile(ours, []byte(usableRule), 0o644))
	got := lines(t, ok(t, "story", "--findings", "--json", "--rules", ours, path))
	require.NotEmpty(t, got)
	require.Contains(t, rulesOf(got), "ours")

	for _, c := range []struct{ text, say string }{
		{"title: t\nlogsource: {category: file_event}\ndetection: {s: {TargetFilenam: x}, condition: s}\n", `rule "t": TargetFilenam: events of category file_event have no such field`},
		{"title: t\nlogsource: {category: file_event}\ndetection: {s: {TargetFilename|expand: x}, condition: s}\n", `rule "t": detection.s: TargetFilename: modifier "expand"`},
		{"title: t\nlogsource: {category: process_creation, product: windows}\ndetection: {s: {Image: x}, condition: s}\n", `logsource.product "windows"`},
		{"title: t\nlogsource: {category: file_event}\ndetection: {s: {TargetFilename: x}, condition: s and}\n", `detection.condition "s and": ends too early`},
		{"- [", "yaml"},
	} {
		require.NoError(t, os.WriteFile(ours, []byte(c.text), 0o644))
		r := xentape(t, "story", "--rules", ours, path)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.err, ours)
		require.Contains(t, r.err, c.say)
	}
}

// TestRulesOfAFolder: of a collection, the rules that can be used are; the others
// are said, and the answer is not called complete.
func TestRulesOfAFolder(t *testing.T) {
	path, dir := tape(t)
	rules := filepath.Join(dir, "rules")
	require.NoError(t, os.MkdirAll(filepath.Join(rules, "linux"), 0o755))
	r := xentape(t, "story", "--rules", rules, path)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "no .yml or .yaml file in it")
	require.NoError(t, os.WriteFile(filepath.Join(rules, "linux", "a.yml"), []byte(usableRule), 0o644))
	require.Contains(t, rulesOf(lines(t, ok(t, "story", "--findings", "--json", "--rules", rules, path))), "ours")
	require.NoError(t, os.WriteFile(filepath.Join(rules, "b.yaml"), []byte("title: other\nlogsource: {category: registry_event}\ndetection: {s: {a: b}, condition: s}\n"), 0o644))
	r = xentape(t, "story", "--findings", "--json", "--rules", rules, path)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.err, "registry_event")
	require.Contains(t, rulesOf(lines(t, r.out)), "ours")
}

func rulesOf(findings []map[string]any) (ids []string) {
	for _, f := range findings {
		ids = append(ids, f["rule"].(string))
	}
	return ids
}
