package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A time outside the recording is never answered as if it were within.
func TestTimesOutsideTheRecording(t *testing.T) {
	dir := trace(t, "ext4")
	tape := filepath.Join(t.TempDir(), "t.xtape")
	ok(t, "import", "--base", "xvda="+filepath.Join(dir, "base.img"), "--writes", "xvda="+filepath.Join(dir, "log"), "-o", tape)
	for _, args := range [][]string{
		{"cat", tape, "xvda:/etc/passwd"}, {"cat", "--list", tape, "xvda:/"}, {"files", tape}, {"files", "--list", tape},
	} {
		r := xentape(t, append(args, "--at", "2001-02-03T04:05:06Z")...)
		require.Equal(t, exitFailed, r.code, args)
		require.Contains(t, r.err, "nothing is known of that time")
		require.Empty(t, r.out)

		r = xentape(t, append(args, "--at", "+9000h")...)
		require.Equal(t, exitDone, r.code, "%v: %s", args, r.err)
		require.Contains(t, r.err, "ends before that, at 20")
		require.Equal(t, ok(t, args...), r.out)
	}
	out := filepath.Join(t.TempDir(), "disk.img")
	r := xentape(t, "export", "disk", tape, "xvda", "-o", out, "--at", "2001-02-03T04:05:06Z")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "nothing is known of that time")
	require.NoFileExists(t, out)
	ok(t, "export", "disk", tape, "xvda", "-o", out, "--at", "+9000h")

	r = xentape(t, "cat", tape, "xvdb1:/etc/passwd")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "xvdb")
}
