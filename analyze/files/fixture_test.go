package files

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs/fstest"
)

// unpack puts a fixture of testdata into a temporary folder.
func unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, fstest.Unpack(t, os.DirFS("testdata"), name+".tar.zst")))
	return dir
}

// sysop is a line of ops.jsonl: a system call of the workload.
type sysop struct {
	T0   int64  `json:"t0"`
	T1   int64  `json:"t1"`
	Op   string `json:"op"`
	Err  *int   `json:"err"`
	Path string `json:"path"`
	Src  string `json:"src"`
	Dst  string `json:"dst"`
	Len  *int64 `json:"len"` // of fallocate(2)
}

// readOps gives the calls that succeeded.
func readOps(t testing.TB, dir string) []sysop {
	t.Helper()
	return slices.DeleteFunc(allOps(t, dir), func(o sysop) bool { return o.Err != nil })
}

// allOps gives all calls; one that failed may have made its file all the same.
func allOps(t testing.TB, dir string) []sysop {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "ops.jsonl"))
	require.NoError(t, err)
	var out []sysop
	for line := range strings.Lines(string(b)) {
		var o sysop
		require.NoError(t, json.Unmarshal([]byte(line), &o))
		if o.Op != "MARK" {
			out = append(out, o)
		}
	}
	require.NotEmpty(t, out)
	return out
}

// TestEveryEventHasACause: precision. Each event of the fixtures is explained by
// a system call that began before the interval ends.
func TestEveryEventHasACause(t *testing.T) {
	for _, name := range []string{"ext4", "ext3", "nojournal", "fc", "xfs", "btrfs"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			_, events := replayTrace(t, dir, Options{Hash: true})
			calls := follow(allOps(t, dir))
			for _, e := range events {
				if !calls.explain(&e) {
					b, _ := json.Marshal(e)
					t.Errorf("no system call explains %s", b)
				}
			}
		})
	}
}

// TestEveryOperationShows: recall. Operations that crossed a commit appear.
func TestEveryOperationShows(t *testing.T) {
	for _, name := range []string{"ext4", "ext3", "nojournal", "fc", "xfs", "btrfs"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			_, events := replayTrace(t, dir, Options{})
			has := func(op Op, path, old string) bool {
				return slices.ContainsFunc(events, func(e Event) bool {
					return e.Op == op && e.Path == path && e.OldPath == old
				})
			}
			for _, w := range []struct {
				op        Op
				path, old string
			}{
				{OpMkdir, "/etc/cron.d", ""}, {OpCreate, "/etc/passwd", ""}, {OpWrite, "/etc/passwd", ""},
				{OpCreate, "/tmp/.y", ""}, {OpDelete, "/tmp/.y", ""}, {OpCreate, "/usr/bin/.bd", ""}, {OpUtime, "/usr/bin/.bd", ""},
				{OpCreate, "/etc/cron.d/upd", ""}, {OpTruncate, "/var/log/auth.log", ""}, {OpCreate, "/home/u/doc00.txt.enc", ""},
				{OpDelete, "/home/u/doc00.txt", ""}, {OpWrite, "/home/u/doc05.txt", ""}, {OpRename, "/home/u/doc09.locked", "/home/u/doc09.txt"},
				{OpLink, "/etc/passwd-", ""}, {OpSymlink, "/usr/bin/ls", ""}, {OpSetxattr, "/usr/bin/.bd", ""}, {OpChown, "/etc/cron.d/upd", ""},
				{OpRename, "/home/v", "/home/u"}, {OpUnlink, "/tmp/open", ""}, {OpDelete, "/tmp/open", ""}, {OpDelete, "/usr/bin/long", ""},
			} {
				require.True(t, has(w.op, w.path, w.old), "%s %s %s", w.op, w.path, w.old)
			}
		})
	}
}

// TestDeterministic: two replays give the same bytes, with one processor or several.
func TestDeterministic(t *testing.T) {
	dir := unpack(t, "ext4")
	var runs [2]bytes.Buffer
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for i := range runs {
		runtime.GOMAXPROCS(1 + 3*i)
		a, events := replayTrace(t, dir, Options{Hash: true})
		enc := json.NewEncoder(&runs[i])
		for _, e := range events {
			require.NoError(t, enc.Encode(e))
		}
		for _, f := range a.Findings() {
			require.NoError(t, enc.Encode(f))
		}
	}
	require.NotZero(t, runs[0].Len())
	require.Equal(t, runs[0].String(), runs[1].String())
}

// TestFindingsOfTheIntrusion: what the workload does is found, with its reasons,
// and nothing else is.
func TestFindingsOfTheIntrusion(t *testing.T) {
	a, _ := replayTrace(t, unpack(t, "ext4"), Options{Hash: true})
	got := map[string][]string{}
	for _, f := range a.Findings() {
		require.NotEmpty(t, f.Records, f.Kind)
		require.NotEmpty(t, f.Reasons, f.Kind)
		got[f.Kind] = append(got[f.Kind], f.Path)
		if f.Kind == FindRansom {
			require.Equal(t, 12, f.Count)
			require.Equal(t, []string{"4 files given a new extension", "8 files overwritten in place", "4 files replaced by a noisy copy", "4 files now end in \".enc\"", "4 files now end in \".locked\""}, f.Reasons)
		}
	}
	require.Equal(t, map[string][]string{
		FindAccount:     {"/etc/passwd"},
		FindSetuid:      {"/usr/bin/sudo", "/usr/bin/.bd"},
		FindStomp:       {"/usr/bin/.bd"},
		FindDropper:     {"/tmp/.y"},
		FindHidden:      {"/tmp/.y", "/usr/bin/.bd"},
		FindPersistence: {"/etc/cron.d/upd"},
		FindLog:         {"/var/log/auth.log"},
		FindRansom:      {""},
		FindTransient:   {"/tmp"},
	}, got)
}
