package need

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// ending is a test whose end is watched instead of suffered.
type ending struct {
	testing.TB
	how string
}

func (e *ending) Helper()               {}
func (e *ending) Logf(string, ...any)   {}
func (e *ending) Fatalf(string, ...any) { e.how = "failed"; runtime.Goexit() }
func (e *ending) Skipf(string, ...any)  { e.how = "left out"; runtime.Goexit() }

func end(f func(testing.TB)) string {
	e := &ending{how: "ran"}
	done := make(chan struct{})
	go func() { defer close(done); f(e) }()
	<-done
	return e.how
}

// What is there is used; what is absent leaves the test out, or fails it where it
// was promised.
func TestLeftOutOnlyWhenAbsent(t *testing.T) {
	there := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(there, "program"), []byte("#!/bin/sh\n"), 0o755))
	t.Setenv("PATH", there)
	tool := func(name string) func(testing.TB) {
		return func(t testing.TB) { Tool(t, "package", "other", name) }
	}
	named := func(t testing.TB) { Named(t, "XENTAPE_NEED_TEST", "a folder") }
	able := func(may bool) func(testing.TB) {
		return func(t testing.TB) { Able(t, may, "do it", errors.New("no")) }
	}
	installed := func(err error) func(testing.TB) {
		return func(t testing.TB) { Installed(t, "package", err) }
	}
	t.Setenv("XENTAPE_REQUIRE_TOOLS", "")
	require.Equal(t, "ran", end(tool("program")))
	require.Equal(t, "left out", end(tool("nothing")))
	require.Equal(t, "ran", end(installed(nil)))
	require.Equal(t, "left out", end(installed(errors.New("no"))))
	t.Setenv("XENTAPE_REQUIRE_TOOLS", "1")
	require.Equal(t, "ran", end(tool("program")))
	require.Equal(t, "failed", end(tool("nothing")))
	require.Equal(t, "ran", end(installed(nil)))
	require.Equal(t, "failed", end(installed(errors.New("no"))))

	t.Setenv("XENTAPE_NEED_TEST", "")
	require.Equal(t, "left out", end(named))
	t.Setenv("XENTAPE_NEED_TEST", there)
	require.Equal(t, "ran", end(named))
	t.Setenv("XENTAPE_NEED_TEST", filepath.Join(there, "gone"))
	require.Equal(t, "failed", end(named))

	require.Equal(t, "failed", end(able(true)))
	require.Equal(t, "left out", end(able(false)))
}
