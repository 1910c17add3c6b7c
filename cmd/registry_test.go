package cmd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNamesAreRegistered: what recorder and importers name (attributes, kinds of
// event, attachments) is in the registry of the format, so that who reads a tape
// finds it explained.
func TestNamesAreRegistered(t *testing.T) {
	text, err := os.ReadFile("../format/REGISTRY.md")
	require.NoError(t, err)
	written := namesWritten(t, "../capture", "xentaped")
	for _, c := range []struct {
		section string
		used    map[string]string
		least   int
	}{
		{"Attributes", written.attributes, 50},
		{"Kinds of event", written.events, 25},
		{"Names of attachments", written.attachments, 10},
	} {
		known := section(t, string(text), c.section)
		require.GreaterOrEqual(t, len(c.used), c.least, "%s: has the way they are written changed, so that this test does not see them?", c.section)
		for _, name := range slices.Sorted(maps.Keys(c.used)) {
			require.True(t, slices.ContainsFunc(known, func(k string) bool { return sameName(k, name) }), "%s: %q, written at %s, is not in REGISTRY.md", c.section, name, c.used[name])
		}
	}
}

// section lists what stands in back-quotes in a section of the registry.
func section(t *testing.T, text, title string) (names []string) {
	_, rest, ok := strings.Cut(text, "## "+title+"\n")
	require.True(t, ok, title)
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(rest, -1) {
		names = append(names, m[1])
	}
	return names
}

// sameName compares a registered name, in which capitals stand for anything, with
// one in the code, in which verbs of fmt do.
func sameName(registered, written string) bool {
	pattern := regexp.MustCompile(`[A-Z]+(?:\\\.\\\.\\\.)?`).ReplaceAllString(regexp.QuoteMeta(registered), ".+")
	written = regexp.MustCompile(`%[a-z]`).ReplaceAllString(written, "X")
	return regexp.MustCompile("^" + pattern + "$").MatchString(written)
}

// names are names by kind, each with a place where it is written.
type names struct {
	attributes, events, attachments map[string]string
	fset                            *token.FileSet
}

func namesWritten(t *testing.T, dirs ...string) *names {
	n := &names{map[string]string{}, map[string]string{}, map[string]string{}, token.NewFileSet()}
	for _, dir := range dirs {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(n.fset, path, nil, parser.SkipObjectResolution)
			if err == nil {
				ast.Inspect(f, n.visit)
			}
			return err
		}))
	}
	return n
}

func (n *names) put(to map[string]string, e ast.Expr) {
	if s, ok := literal(e); ok {
		to[s] = n.fset.Position(e.Pos()).String()
	}
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

var attachmentName = regexp.MustCompile(`^(xen|xl|elf|kernel|pcapng)/[a-z%]`)

func (n *names) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.BasicLit:
		if s, ok := literal(node); ok && attachmentName.MatchString(s) {
			n.put(n.attachments, node)
		}
	case *ast.CompositeLit:
		n.composite(node)
	case *ast.CallExpr:
		n.call(node)
	case *ast.ValueSpec:
		// The changes of a guest's life are constants, and become kinds of event.
		if id, ok := node.Type.(*ast.Ident); ok && id.Name == "Kind" {
			for _, v := range node.Values {
				n.put(n.events, v)
			}
		}
	case *ast.AssignStmt:
		if id, ok := node.Lhs[0].(*ast.Ident); ok && id.Name == "kind" {
			n.put(n.events, node.Rhs[0])
		}
	}
	return true
}

// composite looks at Attr{Name: …, Value: …}, Event{Kind: …}, and things with a
// Name and Data.
func (n *names) composite(c *ast.CompositeLit) {
	fields := map[string]ast.Expr{}
	for _, e := range c.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok {
				fields[id.Name] = kv.Value
			}
		}
	}
	name, named := fields["Name"]
	if _, ok := fields["Value"]; ok && named {
		n.put(n.attributes, name)
	}
	if _, ok := fields["Data"]; ok && named {
		n.put(n.attachments, name)
	}
	if s, ok := c.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Event" && fields["Kind"] != nil {
		n.put(n.events, fields["Kind"])
	}
}

// call looks at the methods that write events: a kind, then names and values by
// turns.
func (n *names) call(c *ast.CallExpr) {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	first := 1
	switch s.Sel.Name {
	case "event", "Event":
		if len(c.Args) > 0 {
			n.put(n.events, c.Args[0])
		}
	case "tell":
		first = 2
	default:
		return
	}
	for i := first; i < len(c.Args); i += 2 {
		n.put(n.attributes, c.Args[i])
	}
}
