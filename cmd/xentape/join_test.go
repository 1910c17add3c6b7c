package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJoinedTapeSaysTheSame: a real guest's tape, joined of itself alone, has other
// record numbers and says nothing else. Segments are tested in replay/join.
func TestJoinedTapeSaysTheSame(t *testing.T) {
	tape := realGuest
	dir := t.TempDir()
	joined, again := filepath.Join(dir, "joined.xtape"), filepath.Join(dir, "again.xtape")
	require.Contains(t, ok(t, "join", "--reproducible", tape, "-o", joined), "1 tapes joined")
	ok(t, "join", "--reproducible", tape, "-o", again)
	a, err := os.ReadFile(joined)
	require.NoError(t, err)
	b, err := os.ReadFile(again)
	require.NoError(t, err)
	require.True(t, string(a) == string(b), "the same input, the same tape")
	ok(t, "verify", joined)
	require.Equal(t, processes(t, tape), processes(t, joined))
	for _, verb := range []string{"conns", "files"} {
		of := func(path string) (said []string) {
			r := xentape(t, verb, "--json", path)
			require.Contains(t, []int{exitDone, exitIncomplete}, r.code, r.err)
			for _, o := range lines(t, r.out) {
				said = append(said, fmt.Sprint(unnumbered(o)))
			}
			return said
		}
		require.Equal(t, of(tape), of(joined), verb)
	}
}

// unnumbered is v without the numbers of records.
func unnumbered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"records", "first_record", "last_record"} {
			delete(v, name)
		}
		for name := range v {
			v[name] = unnumbered(v[name])
		}
	case []any:
		for i := range v {
			v[i] = unnumbered(v[i])
		}
	}
	return v
}

func TestWhatJoinRefuses(t *testing.T) {
	dir := t.TempDir()
	empty, out := filepath.Join(dir, "xvda.after-1.img"), filepath.Join(dir, "out.xtape")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	tape, other := shipped+"/web-intrusion/tape.xtape", shipped+"/quiet/tape.xtape"
	for _, c := range []struct {
		want string
		code int
		args []string
	}{
		{"usage: xentape join", exitUsage, []string{"-o", out}},
		{"-o TAPE is needed", exitUsage, []string{tape}},
		{"a tape is a regular file", exitFailed, []string{dir, "-o", out}},
		{"not a tape", exitFailed, []string{empty, "-o", out}},
		{"is empty", exitFailed, []string{"--base", empty, tape, "-o", out}},
		{"not named like DISK.after-TIME.img", exitUsage, []string{"--base", tape, tape, "-o", out}},
		{"does not begin after", exitFailed, []string{tape, tape, "-o", out}},
		{"another boot of the host", exitFailed, []string{tape, other, "-o", out}},
	} {
		r := xentape(t, append([]string{"join"}, c.args...)...)
		require.Equal(t, c.code, r.code, "%v: %s", c.args, r.err)
		require.Contains(t, r.err, c.want)
		require.NoFileExists(t, out)
	}
}
