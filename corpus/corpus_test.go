package corpus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func newCase(t *testing.T, dir, name, expected string) *Case {
	t.Helper()
	d := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(d, 0o755))
	tape := []byte("tape of " + name)
	sum := sha256.Sum256(tape)
	require.NoError(t, os.WriteFile(filepath.Join(d, "tape.xtape"), tape, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(d, "files.jsonl"), []byte(expected), 0o644))
	c := &Case{Name: name, Origin: "test", Licence: "Apache-2.0", Dir: d,
		Tape: Tape{File: "tape.xtape", SHA256: hex.EncodeToString(sum[:])}, Expected: map[string]string{"files": "files.jsonl"}}
	require.NoError(t, c.Save())
	return c
}

func says(lines string) Analyze {
	return func(context.Context, string, []string) (map[string][]byte, error) {
		return map[string][]byte{"files": []byte(lines)}, nil
	}
}

const two = `{"op":"create","path":"/a","size":1}
{"op":"delete","path":"/b","size":2}
`

func TestVerifySaysWhatDiffers(t *testing.T) {
	dir := t.TempDir()
	newCase(t, dir, "one", two)
	cases, err := Load(dir)
	require.NoError(t, err)

	rs, err := Verify(context.Background(), cases, says(two), 2, nil)
	require.NoError(t, err)
	require.True(t, rs[0].OK())

	rs, err = Verify(context.Background(), cases, says(`{"op":"create","path":"/a","size":7}
{"op":"create","path":"/c"}
`), 2, nil)
	require.NoError(t, err)
	require.Equal(t, []Difference{
		{Output: "files", Kind: "changed", Key: `"create" "/a"`, Fields: []FieldChange{{"size", "1", "7"}}},
		{Output: "files", Kind: "missing", Key: `"delete" "/b"`},
		{Output: "files", Kind: "added", Key: `"create" "/c"`},
	}, rs[0].Differences)
	var b bytes.Buffer
	require.NoError(t, WriteJUnit(&b, rs))
	require.Contains(t, b.String(), `failures="1"`)
	require.Contains(t, b.String(), "size: expected 1, got 7")
}

func TestDiffNoticesOrder(t *testing.T) {
	d, err := Diff("files", []byte(two), []byte(`{"op":"delete","path":"/b","size":2}
{"op":"create","path":"/a","size":1}
`))
	require.NoError(t, err)
	require.Len(t, d, 1)
}

func TestDiffCountsDuplicates(t *testing.T) {
	one := `{"op":"create","path":"/a"}` + "\n"
	d, err := Diff("files", []byte(one), []byte(one+one))
	require.NoError(t, err)
	require.Equal(t, []Difference{{Output: "files", Kind: "added", Key: `"create" "/a"`}}, d)
}

func TestChangedTapeIsAnError(t *testing.T) {
	dir := t.TempDir()
	c := newCase(t, dir, "one", two)
	require.NoError(t, os.WriteFile(c.TapePath(), []byte("another"), 0o644))
	rs, err := Verify(context.Background(), []*Case{c}, says(two), 1, nil)
	require.NoError(t, err)
	require.ErrorContains(t, rs[0].Err, "pinned")
	require.False(t, rs[0].OK())
}

func TestAnalyzerErrorIsNotNothingFound(t *testing.T) {
	dir := t.TempDir()
	c := newCase(t, dir, "one", "")
	rs, err := Verify(context.Background(), []*Case{c}, func(context.Context, string, []string) (map[string][]byte, error) {
		return nil, errors.New("cannot look")
	}, 1, nil)
	require.NoError(t, err)
	require.False(t, rs[0].OK())
}

func TestLoadRefuses(t *testing.T) {
	_, err := Load(t.TempDir())
	require.ErrorContains(t, err, "nothing to verify")
	for name, text := range map[string]string{
		"empty":           "",
		"expects nothing": "name: x\ntape: {file: t, sha256: \"" + hex.EncodeToString(make([]byte, 32)) + "\"}\n",
		"misspelt":        "name: x\nexpectd: {}\n",
		"escapes":         "name: x\ntape: {file: ../t, sha256: \"" + hex.EncodeToString(make([]byte, 32)) + "\"}\nexpected: {ps: p}\n",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, CaseFile), []byte(text), 0o644))
		_, err := Load(dir)
		require.Error(t, err, name)
	}
}

func TestUpdateConverges(t *testing.T) {
	dir := t.TempDir()
	c := newCase(t, dir, "one", two)
	got := says(`{"op":"create","path":"/z"}` + "\n")
	d, err := Update(context.Background(), c, got)
	require.NoError(t, err)
	require.Len(t, d, 3)
	d, err = Update(context.Background(), c, got)
	require.NoError(t, err)
	require.Empty(t, d)
}

func TestAddLeavesNothingBehindWhereItFails(t *testing.T) {
	dir := t.TempDir()
	tape := filepath.Join(dir, "t.xtape")
	require.NoError(t, os.WriteFile(tape, []byte("a tape"), 0o644))
	made := filepath.Join(dir, "case")
	broken := func(context.Context, string, []string) (map[string][]byte, error) { return nil, errors.New("damaged") }
	add := func(from string, analyze Analyze) error {
		return Add(context.Background(), &Case{Name: "x", Origin: "test", Licence: "CC0-1.0", Dir: made}, from, []string{"files"}, analyze)
	}
	require.ErrorContains(t, add(tape, broken), "damaged")
	require.NoDirExists(t, made)
	require.Error(t, add(dir, says(two)), "a folder is no tape")
	require.NoDirExists(t, made)
	require.NoError(t, add(tape, says(two)))
	require.ErrorContains(t, add(tape, says(two)), "use update")
	require.FileExists(t, filepath.Join(made, CaseFile))
	require.NoError(t, os.Remove(filepath.Join(made, CaseFile)))
	require.ErrorContains(t, add(tape, says(two)), "not empty")
	require.FileExists(t, filepath.Join(made, "tape.xtape"))
}
