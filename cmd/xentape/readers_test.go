package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/corpus/need"
)

// readers are the programs of others that read what we write, and who has them.
var readers = map[string]string{"sqlite3": "sqlite3", "tshark": "tshark", "mactime": "sleuthkit", "protoc": "protobuf-compiler", "node": "nodejs", "/usr/bin/python3": "python3"}

// tool runs one of them.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	require.Contains(t, readers, name)
	c := exec.Command(need.Tool(t, readers[name], name), args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	require.NoError(t, c.Run(), "%s: %s", name, errs.String())
	return out.String()
}

// TestOutputsOpenElsewhere reads every output of the shipped tape with a program
// that has nothing of xentape in it.
func TestOutputsOpenElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	ok(t, "analyze", shipped+"/web-intrusion/tape.xtape", "-o", dir)
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return b
	}
	items := lines(t, string(read("story.jsonl")))
	for name, check := range map[string]func(*testing.T){
		"manifest": func(t *testing.T) { manifestHolds(t, dir) },
		"Timesketch": func(t *testing.T) {
			timesketchTakes(t, read("timeline.jsonl"))
		},
		"sqlite3": func(t *testing.T) {
			db := filepath.Join(dir, "story.sqlite")
			require.Equal(t, "ok\n", tool(t, "sqlite3", db, "PRAGMA integrity_check"))
			require.Equal(t, fmt.Sprintln(len(items)), tool(t, "sqlite3", db, "SELECT count(*) FROM story"))
			require.Equal(t, "183|exact|4444\n", tool(t, "sqlite3", db, "SELECT p.pid, c.process_grade, c.id_resp_p FROM conns c JOIN processes p ON p.pid = c.process_pid WHERE c.id_resp_p = 4444"))
			require.Equal(t, "0\n", tool(t, "sqlite3", db, "SELECT count(*) FROM story s WHERE NOT EXISTS (SELECT 1 FROM evidence e WHERE e.item = s.id)"), "every item has evidence")
		},
		"tshark": func(t *testing.T) {
			out := tool(t, "tshark", "-r", filepath.Join(dir, "packets.pcapng"), "-Y", "tcp.port == 4444", "-T", "fields", "-e", "frame.comment")
			require.NotEmpty(t, out)
			for line := range strings.Lines(out) {
				require.Contains(t, line, "process 183 bash /usr/bin/bash (exact)")
			}
		},
		"mactime": func(t *testing.T) {
			out := tool(t, "mactime", "-b", filepath.Join(dir, "xvda.bodyfile"), "-d", "-z", "UTC")
			require.Regexp(t, `(?m)^[^\n]*2026[^\n]*,m.c.,[^\n]*/srv/www/customers\.db`, out)
		},
		"protoc": func(t *testing.T) { perfettoReads(t, filepath.Join(dir, "story.pftrace")) },
		"hyparquet": func(t *testing.T) {
			rows := parquetRows(t, dir, "story", "evidence", "conns", "processes", "files")
			require.Len(t, rows["story"], len(items))
			for i, r := range rows["story"] {
				require.Equal(t, items[i]["summary"], r["summary"])
				require.Equal(t, items[i]["time"], r["time"])
			}
			require.Len(t, rows["conns"], len(lines(t, string(read("conns.jsonl")))))
			require.Len(t, rows["files"], len(lines(t, string(read("files.jsonl")))))
			require.Len(t, rows["processes"], len(lines(t, string(read("ps.jsonl"))))-1)
			require.NotEmpty(t, rows["evidence"])
		},
		"rdflib": func(t *testing.T) {
			script, err := filepath.Abs("testdata/custody.py")
			require.NoError(t, err)
			need.Installed(t, "python3-rdflib", exec.Command("/usr/bin/python3", "-c", "import rdflib").Run())
			out := tool(t, "/usr/bin/python3", script, filepath.Join(dir, "custody.jsonld"))
			for _, name := range []string{"story.html", "story.sqlite", "timeline.jsonl"} {
				b := read(name)
				require.Contains(t, out, fmt.Sprintf("result %s %d %x\n", name, len(b), sha256.Sum256(b)))
			}
			require.Contains(t, out, "object tape.xtape ")
		},
	} {
		t.Run(name, check)
	}
}

// manifestHolds: what sha256sum would say of each output is in the manifest.
func manifestHolds(t *testing.T, dir string) {
	var m struct {
		Complete bool
		Tape     struct{ Root string }
		Outputs  []struct{ Name, SHA256 string }
	}
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &m))
	require.True(t, m.Complete)
	require.Len(t, m.Tape.Root, 64)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, m.Outputs, len(files)-2, "all but the manifest and the custody file")
	for _, o := range m.Outputs {
		b, err := os.ReadFile(filepath.Join(dir, o.Name))
		require.NoError(t, err)
		sum := sha256.Sum256(b)
		require.Equal(t, hex.EncodeToString(sum[:]), o.SHA256, o.Name)
	}
}

// timesketchTakes checks what Timesketch's import asks of JSON lines: an object a
// line, never an array; message, datetime in ISO 8601 and timestamp_desc in each;
// one type a field, as its index has one mapping for it; nothing longer than a
// keyword may be.
func timesketchTakes(t *testing.T, b []byte) {
	types := map[string]string{}
	iso := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		require.True(t, strings.HasPrefix(line, "{"))
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		for _, f := range []string{"message", "datetime", "timestamp_desc"} {
			require.NotEmpty(t, m[f], "%s in %s", f, line)
		}
		require.Regexp(t, iso, m["datetime"])
		at, err := time.Parse(time.RFC3339Nano, m["datetime"].(string))
		require.NoError(t, err)
		require.Greater(t, at.Year(), 2000)
		for k, v := range m {
			kind := fmt.Sprintf("%T", v)
			require.Contains(t, []string{"", kind}, types[k], "field %s has two types", k)
			types[k] = kind
			if s, ok := v.(string); ok {
				require.LessOrEqual(t, len(s), 32766)
			}
		}
	}
	require.Greater(t, n, 50)
}

// perfettoReads decodes the trace by Perfetto's schema, and looks for what a person
// would see: the shell's track, its connection on it, and arrows between them.
func perfettoReads(t *testing.T, path string) {
	protoc := need.Tool(t, "protobuf-compiler", "protoc")
	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	c := exec.Command(protoc, "--proto_path=testdata", "--decode=perfetto.Trace", "perfetto.proto")
	c.Stdin = in
	out, err := c.Output()
	require.NoError(t, err)
	s := string(out)
	require.NotRegexp(t, `(?m)^\s*\d+[:{ ]`, s, "a field is not in the schema")
	require.Contains(t, s, `process_name: "bash"`)
	require.Contains(t, s, "type: TYPE_SLICE_BEGIN")
	require.Equal(t, strings.Count(s, "TYPE_SLICE_BEGIN"), strings.Count(s, "TYPE_SLICE_END"))
	// The dropper came over a connection into a file, and its process, another's,
	// held the connection of the shell: each pair shares the id of an arrow.
	flows := func(what string) (ids []string) {
		for _, p := range strings.Split(s, "\npacket {") {
			if strings.Contains(p, what) {
				for _, m := range regexp.MustCompile(`flow_ids: (\d+)`).FindAllStringSubmatch(p, -1) {
					ids = append(ids, m[1])
				}
			}
		}
		require.NotEmpty(t, ids, what)
		return ids
	}
	for _, pair := range [][2]string{
		{`name: "tcp 10.9.9.20:53654`, `name: "write /tmp/.u`},             // connection → file
		{`name: "process 183: `, `name: "tcp 10.9.9.20:36140`},             // process → connection
		{`name: "process 130: `, `name: "write /var/log/nginx/access.log`}, // process → file
	} {
		from, to := flows(pair[0]), flows(pair[1])
		require.True(t, slices.ContainsFunc(from, func(id string) bool { return slices.Contains(to, id) }), "%s → %s: %v, %v", pair[0], pair[1], from, to)
	}
}

// parquetRows reads tables with hyparquet, from the npm registry.
func parquetRows(t *testing.T, dir string, tables ...string) map[string][]map[string]any {
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	readers := filepath.Join(cache, "xentape", "readers")
	_, err = os.Stat(filepath.Join(readers, "node_modules", "hyparquet"))
	need.Installed(t, "hyparquet (npm)", err)
	args := []string{"testdata/parquet.mjs", readers}
	for _, n := range tables {
		args = append(args, filepath.Join(dir, n+".parquet"))
	}
	out := map[string][]map[string]any{}
	for i, line := range strings.Split(strings.TrimSpace(tool(t, "node", args...)), "\n") {
		var rows []map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &rows))
		out[tables[i]] = rows
	}
	return out
}
