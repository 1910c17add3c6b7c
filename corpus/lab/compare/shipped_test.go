package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShippedTapeAgreesWithItsGuest: what xentape says today of the recording in the
// repository is what that guest and its peer wrote down.
func TestShippedTapeAgreesWithItsGuest(t *testing.T) {
	program := filepath.Join(t.TempDir(), "xentape")
	build := exec.Command("go", "build", "-o", program, "github.com/xentape/xentape/cmd/xentape")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	const shipped = "../../tapes/web-intrusion"
	var report bytes.Buffer
	ok, err := run(verbs{program: program, tape: shipped + "/tape.xtape"}, shipped+"/truth", &report)
	require.NoError(t, err)
	require.True(t, ok, report.String())
}
