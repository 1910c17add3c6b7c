package cmd

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnlyNeedSkips: a test that leaves itself out hides a miss. Package corpus/need
// does it for all, for the one reason it gives.
func TestOnlyNeedSkips(t *testing.T) {
	skips := regexp.MustCompile(`\.Skip(f|Now)?\(`)
	tests := 0
	require.NoError(t, fs.WalkDir(os.DirFS(".."), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "corpus/need/") || path == "cmd/skips_test.go" {
			return err
		}
		b, err := os.ReadFile("../" + path)
		require.NoError(t, err)
		require.Empty(t, skips.FindString(string(b)), path)
		tests++
		return nil
	}))
	require.Greater(t, tests, 100)
}
