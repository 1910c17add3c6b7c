package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFilesAtAMoment: listings, versions and single files at marks, from a tape and
// from the files it was made of, in both views.
func TestFilesAtAMoment(t *testing.T) {
	dir := trace(t, "ext4")
	base, log := "xvda="+filepath.Join(dir, "base.img"), "xvda="+filepath.Join(dir, "log")
	tape := filepath.Join(t.TempDir(), "t.xtape")
	ok(t, "import", "--base", base, "--writes", log, "-o", tape)
	for _, mark := range []string{"cp0002", "cp0007"} {
		man, err := os.ReadFile(filepath.Join(dir, "man", mark+".jsonl"))
		require.NoError(t, err)
		want := map[string]map[string]any{}
		for _, m := range lines(t, string(man)) {
			want[m["path"].(string)] = m
		}
		for _, view := range []string{"live", "crash"} {
			a := lines(t, ok(t, "files", "--list", "--json", "--at", "@"+mark, "--view", view, tape))
			require.Equal(t, a, lines(t, ok(t, "files", "--list", "--json", "--at", "@"+mark, "--view", view, "--base", base, "--writes", log)))
			require.Len(t, a, len(want))
			for _, e := range a {
				w := want[e["path"].(string)]
				require.NotNil(t, w, e["path"])
				require.Equal(t, w["ino"], e["inode"])
				require.Equal(t, w["sha"], e["sha256"], e["path"])
			}
			sum := sha256.Sum256([]byte(ok(t, "cat", tape, "xvda:/etc/passwd", "--at", "@"+mark, "--view", view)))
			require.Equal(t, want["/etc/passwd"]["sha"], hex.EncodeToString(sum[:]))
		}
	}
	vs := lines(t, ok(t, "files", "--versions", "--json", "--path", "/etc/passwd", tape))
	require.Greater(t, len(vs), 1)
	require.Equal(t, "create", vs[0]["op"])
	require.NotEqual(t, vs[0]["sha256"], vs[1]["sha256"])
	ok(t, "files", "--self-check", tape)
	for _, args := range [][]string{{"--versions"}, {"--view", "crash"}, {"--list", "--view", "x"}, {"--list", "--versions", "--path", "x"}, {"--list", "--residue"}} {
		require.Equal(t, exitUsage, xentape(t, append([]string{"files", tape}, args...)...).code, args)
	}
	require.Equal(t, exitFailed, xentape(t, "files", "--list", "--at", "@nothing", tape).code)
	r := xentape(t, "files", "--residue", tape)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.err, "is not read from this filesystem")
	require.Empty(t, r.out)
}

// TestExportDiskViews: the live image differs from the crash image while metadata
// waits in the journal.
func TestExportDiskViews(t *testing.T) {
	dir, out := trace(t, "ext4"), t.TempDir()
	tape := filepath.Join(out, "t.xtape")
	ok(t, "import", "--base", "xvda="+filepath.Join(dir, "base.img"), "--writes", "xvda="+filepath.Join(dir, "log"), "-o", tape)
	events := lines(t, ok(t, "files", "--json", tape))
	require.NotEmpty(t, events)
	differ := 0
	for k := range 6 {
		// The commit that carried an event, and the record it came with.
		at, known := events[k*len(events)/6]["observed"].(string)
		require.True(t, known, events[k*len(events)/6])
		var images [2]string
		for i, view := range []string{"live", "crash"} {
			name := filepath.Join(out, fmt.Sprint("d", k, view))
			ok(t, "export", "disk", tape, "xvda", "--at", at, "--view", view, "-o", name)
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			images[i] = string(b)
		}
		if images[0] != images[1] {
			differ++
		}
	}
	require.NotZero(t, differ)
}

// TestBlockLogArguments: what cannot be a block trace is refused, by the file's name
// and with what to do, and no tape is made of it.
func TestBlockLogArguments(t *testing.T) {
	dir := trace(t, "ext4")
	base, log := filepath.Join(dir, "base.img"), filepath.Join(dir, "log")
	for _, c := range []struct {
		base, writes, says string
		code               int
	}{
		{dir, log, "is a folder", exitFailed},
		{base, dir, "is a folder", exitFailed},
		{filepath.Join(dir, "none"), log, "no such file", exitFailed},
		{base, filepath.Join(dir, "none"), "no such file", exitFailed},
		{base, base, "not a dm-log-writes log", exitFailed},
		{"sda=" + base, "sdb=" + log, "name one disk", exitUsage},
		{"", log, "--base is needed", exitUsage},
	} {
		r := xentape(t, "files", "--base", c.base, "--writes", c.writes)
		require.Equal(t, c.code, r.code, r.err)
		require.Contains(t, r.err, c.says)
		require.Empty(t, r.out)
	}
	out := filepath.Join(t.TempDir(), "t.xtape")
	r := xentape(t, "import", "--base", "xvda="+dir, "--writes", "xvda="+log, "-o", out)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "is a folder")
	require.NoFileExists(t, out)
}
