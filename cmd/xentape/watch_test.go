package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// grow appends what is left of a tape, a part at a time.
func grow(path string, rest []byte, parts int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for n := len(rest)/parts + 1; len(rest) > 0; {
		n = min(n, len(rest))
		if _, err := f.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
		time.Sleep(30 * time.Millisecond)
	}
	return nil
}

// heard puts together what watch said: a later line of an id replaces the earlier.
func heard(t *testing.T, out string) map[string]string {
	said := map[string]string{}
	for line := range strings.Lines(out) {
		var it struct {
			ID        string
			Withdrawn bool
		}
		require.NoError(t, json.Unmarshal([]byte(line), &it))
		if it.Withdrawn {
			require.Contains(t, said, it.ID)
			delete(said, it.ID)
			continue
		}
		said[it.ID] = line
	}
	return said
}

// TestWatchFollowsARing: segments come and go in a folder for each guest.
func TestWatchFollowsARing(t *testing.T) {
	path, dir := tape(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	ring := filepath.Join(dir, "ring", "0f0e-guest")
	require.NoError(t, os.MkdirAll(ring, 0o755))
	first, second, empty := filepath.Join(ring, "1.xtape"), filepath.Join(ring, "2.xtape"), filepath.Join(ring, "3.xtape")
	require.NoError(t, os.WriteFile(first, whole, 0o644))
	require.NoError(t, os.WriteFile(second, whole[:len(whole)/3], 0o644))
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	done := make(chan error, 1)
	go func() { done <- grow(second, whole[len(whole)/3:], 4) }()
	var out, errs bytes.Buffer
	code := run(context.Background(), []string{"watch", "--json", "--every", "10ms", "--stop-when-idle", "3s", filepath.Dir(ring)}, strings.NewReader(""), &out, &errs)
	require.NoError(t, <-done)
	require.Equal(t, exitIncomplete, code, errs.String())
	require.Contains(t, errs.String(), "not looked at: "+empty)
	require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
	want := heard(t, ok(t, "story", "--json", path))
	require.Equal(t, want, heard(t, out.String()))
	require.GreaterOrEqual(t, strings.Count(out.String(), "\n"), 2*len(want), "each segment is told")
}
