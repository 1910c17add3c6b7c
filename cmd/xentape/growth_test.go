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
	path, whole := recorded(t)
	growing := filepath.Join(t.TempDir(), "growing.xtape")
	const first = 4096
	require.NoError(t, os.WriteFile(growing, whole[:first], 0o644))
	done := make(chan error, 1)
	go func() { done <- grow(growing, whole[first:], 30) }()
	var out, errs bytes.Buffer
	code := run(context.Background(), []string{"watch", "--json", "--every", "10ms", growing}, strings.NewReader(""), &out, &errs)
	require.NoError(t, <-done)
	require.Equal(t, exitDone, code, errs.String())
	require.Equal(t, heard(t, ok(t, "story", "--json", path)), heard(t, out.String()))
}
