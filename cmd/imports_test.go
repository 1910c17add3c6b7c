// Package cmd holds no code of its own: only the rule, as a test, of who may
// import whom in this module.
package cmd

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/xentape/xentape/"

// A room is a top-level folder. mayImport lists the rooms of this module that it
// may import besides itself; mustNot lists packages its production code may not
// name directly.
type room struct {
	mayImport []string
	mustNot   []string
}

var rooms = map[string]room{
	"format":  {nil, []string{"os", "net", "os/exec", "github.com/google/gopacket", "github.com/google/gopacket/pcapgo"}},
	"capture": {[]string{"format"}, []string{"github.com/spf13/cobra"}},
	"replay":  {[]string{"format"}, []string{"github.com/spf13/cobra", "net", "os/exec"}},
	"analyze": {[]string{"replay", "format"}, []string{"os", "os/exec", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "github.com/spf13/cobra"}},
	"corpus":  {[]string{"format", "capture", "replay", "analyze"}, nil},
	"cmd":     {[]string{"format", "capture", "replay", "analyze", "corpus"}, nil},
}

// Siblings may not import one another below these rooms, except what lies in the
// layer's internal folder, and those that exist to join the others: story, and
// report, which writes what story told.
var joiners = map[string][]string{"capture": nil, "analyze": {"story", "report"}}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, args ...string) []pkg {
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

func split(path string) (top, sub string) {
	parts := strings.Split(strings.TrimPrefix(path, module), "/")
	if len(parts) > 1 {
		sub = parts[1]
	}
	return parts[0], sub
}

func TestImportRules(t *testing.T) {
	all := list(t, "./...")
	require.NotEmpty(t, all)
	for _, p := range all {
		top, sub := split(p.ImportPath)
		r, ok := rooms[top]
		require.True(t, ok, "%s is in no known room", p.ImportPath)
		for _, imp := range p.Imports {
			for _, no := range r.mustNot {
				require.NotEqual(t, no, imp, "%s may not import %s", p.ImportPath, imp)
			}
			if !strings.HasPrefix(imp, module) {
				continue
			}
			itop, isub := split(imp)
			if itop != top {
				require.Contains(t, r.mayImport, itop, "%s may not import %s", p.ImportPath, imp)
				continue
			}
			if top == "cmd" {
				continue
			}
			if may, ok := joiners[top]; ok && sub != "" && isub != "" && sub != isub && isub != "internal" && !slices.Contains(may, sub) {
				t.Errorf("%s and %s are siblings: what they share belongs into %s/internal", p.ImportPath, imp, top)
			}
		}
	}
}

// TestRecorderLinksNoParser keeps the rule that no byte of guest data is
// interpreted in dom0.
func TestRecorderLinksNoParser(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./cmd/xentaped")
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), module+"capture")
	for line := range strings.Lines(string(out)) {
		top, _ := split(strings.TrimSpace(line))
		if strings.HasPrefix(line, module) {
			require.NotContains(t, []string{"analyze", "replay", "corpus"}, top, "cmd/xentaped links %s", line)
		}
	}
}
