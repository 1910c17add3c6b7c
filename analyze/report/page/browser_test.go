//go:build !windows

package page

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/corpus/need"
)

func browser(t *testing.T) string {
	return need.Tool(t, "chromium", "chromium", "chromium-browser", "google-chrome")
}

// flags make the browser keep to itself: no window, no network of its own, a
// profile that is thrown away.
func flags(dir string) []string {
	return []string{"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile")}
}

// open loads the page headless and returns the document as it stands after its
// script has run.
func open(t *testing.T, d *Data) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "story.html")
	var b bytes.Buffer
	require.NoError(t, Write(&b, d))
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser(t), append(flags(dir), "--virtual-time-budget=20000", "--window-size=1400,1300", "--dump-dom", "file://"+file)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	require.NotContains(t, stderr.String(), "Content Security Policy", "something in the page broke its own policy")
	return string(out)
}

func TestBrowserShowsHostileNamesAsText(t *testing.T) {
	dom := open(t, sample())
	require.Contains(t, dom, `data-ready="true"`, "the script did not run to its end")
	require.NotContains(t, dom, "data-owned")
	require.NotContains(t, dom, "<img")
	require.NotContains(t, dom, "<svg")
	require.Contains(t, dom, "&lt;img src=x", "the name is shown, as text")
	require.Contains(t, dom, `\u{202e}gnp.exe`, "a right-to-left override is written out")
	require.Contains(t, dom, "Belongs together with")
}
