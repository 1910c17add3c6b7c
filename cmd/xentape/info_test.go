package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventsOfATape(t *testing.T) {
	path := filepath.Join(shipped, "quiet", "tape.xtape")
	require.NotContains(t, lines(t, ok(t, "info", "--json", path))[0], "events", "that would read the whole tape")
	events := lines(t, ok(t, "info", "--json", "--events", path))[0]["events"].([]any)
	kinds := map[string]map[string]any{}
	for _, e := range events {
		e := e.(map[string]any)
		kinds[e["kind"].(string)] = e
	}
	require.Equal(t, "web", kinds["recording-started"]["attrs"].(map[string]any)["guest-name"])
	require.Equal(t, "guest", kinds["guest-kernel"]["stream"])
	require.Contains(t, kinds, "recording-ended")
	require.Regexp(t, `(?m)^guest +20\S+Z +guest-kernel command-line=root=/dev/xvda `, ok(t, "info", "--events", path))

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	cut := filepath.Join(t.TempDir(), "cut.xtape")
	require.NoError(t, os.WriteFile(cut, whole[:len(whole)/3], 0o600))
	r := xentape(t, "info", "--json", "--events", cut)
	require.Contains(t, []int{exitDone, exitIncomplete}, r.code, r.err)
	require.Equal(t, "recording-started", lines(t, r.out)[0]["events"].([]any)[0].(map[string]any)["kind"])
}
