package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/story"
	"github.com/xentape/xentape/corpus/rewrite"
	"github.com/xentape/xentape/replay"
)

// recorded writes the shipped tape as its recorder had: brought to the file once a
// second. What ships is packed into few large chunks.
func recorded(t *testing.T) (path string, whole []byte) {
	path = filepath.Join(t.TempDir(), "recorded.xtape")
	require.NoError(t, rewrite.File(shipped+"/web-intrusion/tape.xtape", path, rewrite.Options{FlushEvery: time.Second}))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	return path, whole
}

// counted counts the bytes that are read of a file.
type counted struct {
	*os.File
	read int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.read += int64(n)
	return n, err
}

func openCounted(t *testing.T, path string) (*counted, *replay.Tape, *story.Engine) {
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	c := &counted{File: f}
	tape, err := replay.New("tape", c, st.Size(), replay.Options{})
	require.NoError(t, err)
	rules, err := story.Rules()
	require.NoError(t, err)
	return c, tape, story.NewEngine(tape, story.Options{Rules: rules})
}

// TestFollowingReadsWhatIsNew counts what is read of a tape that grows from its
// first bytes on: in many looks together hardly more than in one, in a look at
// nothing new nothing; and in the end the same is told.
func TestFollowingReadsWhatIsNew(t *testing.T) {
	path, whole := recorded(t)
	once, _, e := openCounted(t, path)
	s, err := e.Run(nil)
	require.NoError(t, err)
	want, err := json.Marshal(s.Items)
	require.NoError(t, err)

	growing := filepath.Join(t.TempDir(), "growing.xtape")
	const steps = 40
	require.NoError(t, os.WriteFile(growing, whole[:len(whole)/steps], 0o644))
	c, tape, e := openCounted(t, growing)
	f, err := os.OpenFile(growing, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	defer f.Close()
	told := 0
	for n := 2; n <= steps; n++ {
		_, err := f.Write(whole[len(whole)*(n-1)/steps : len(whole)*n/steps])
		require.NoError(t, err)
		require.NoError(t, tape.Refresh())
		s, err = e.Follow(n == steps)
		require.NoError(t, err)
		before := c.read
		require.NoError(t, tape.Refresh())
		if n < steps {
			_, err = e.Follow(false)
			require.NoError(t, err)
			if len(s.Items) > 0 {
				told++
			}
		}
		require.Equal(t, before, c.read, "nothing is new in step %d", n)
	}
	require.Greater(t, told, steps/4, "much is told long before the end")
	require.Less(t, c.read, once.read*11/10)
	got, err := json.Marshal(s.Items)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// TestWatchFollowsFromTheFirstRecord: what watch says of a tape that grows from its
// first bytes on is, taken together, what story says of it.
func TestWatchFollowsFromTheFirstRecord(t *testing.T) {
	made, _ := tape(t)
	real, _ := recorded(t)
	for _, path := range []string{made, real} {
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		growing := filepath.Join(t.TempDir(), "growing.xtape")
		first := len(whole) / 30
		require.NoError(t, os.WriteFile(growing, whole[:first], 0o644))
		done := make(chan error, 1)
		go func() { done <- grow(growing, whole[first:], 30) }()
		out := ok(t, "watch", "--json", "--every", "10ms", growing)
		require.NoError(t, <-done)
		require.Equal(t, heard(t, ok(t, "story", "--json", path)), heard(t, out))
		require.NotContains(t, out, "withdrawn", "nothing was said too early")
	}
}

// TestACutTapeIsSaid: of a tape that was cut off, all verbs that tell the story tell
// the same of what is there, and that it is not all.
func TestACutTapeIsSaid(t *testing.T) {
	whole, err := os.ReadFile(shipped + "/web-intrusion/tape.xtape")
	require.NoError(t, err)
	for _, n := range []int{9_000_000, 22_000_000} {
		dir := t.TempDir()
		cut := filepath.Join(dir, "cut.xtape")
		require.NoError(t, os.WriteFile(cut, whole[:n], 0o644))
		s := xentape(t, "story", "--json", cut)
		require.Equal(t, exitIncomplete, s.code)
		require.True(t, strings.HasPrefix(s.err, "xentape: tape: is not sealed"), s.err)
		require.NotContains(t, s.err, ": :", "every stream has a name")
		require.Equal(t, n == 22_000_000, strings.Contains(s.out, "reverse-shell"), "the snapshot that shows it is there")
		require.NotContains(t, s.out, "task-count")
		w := xentape(t, "watch", "--json", "--every", "1ms", "--stop-when-idle", "1ms", cut)
		require.Equal(t, exitIncomplete, w.code)
		require.Equal(t, heard(t, s.out), heard(t, w.out))
		require.Contains(t, w.err, "is not sealed")
		out := filepath.Join(dir, "out")
		require.Equal(t, exitIncomplete, xentape(t, "analyze", "-o", out, "--format", "jsonl", cut).code)
		b, err := os.ReadFile(filepath.Join(out, "story.jsonl"))
		require.NoError(t, err)
		require.Equal(t, s.out, string(b))
		b, err = os.ReadFile(filepath.Join(out, "manifest.json"))
		require.NoError(t, err)
		require.Contains(t, string(b), `"complete": false`)
	}
}
