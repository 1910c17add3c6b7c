package process_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/analyze/process"
)

// olderTypes gives the structures of a kernel the names and places that those of
// 4.18 have: radix trees for xarrays (4.20), pids for pid_links and thread_pid
// (4.19), real_start_time for start_boottime (5.5).
func olderTypes(t *testing.T) []byte {
	b, err := os.ReadFile("testdata/deb12-6.1.isf.json.zst")
	require.NoError(t, err)
	z, err := zstd.NewReader(nil)
	require.NoError(t, err)
	b, err = z.DecodeAll(b, nil)
	require.NoError(t, err)
	var d map[string]any
	j := json.NewDecoder(bytes.NewReader(b))
	j.UseNumber() // addresses have more digits than a float
	require.NoError(t, j.Decode(&d))
	types := d["user_types"].(map[string]any)
	fields := func(name string) map[string]any { return types[name].(map[string]any)["fields"].(map[string]any) }
	rename := func(m map[string]any, from, to string) {
		require.Contains(t, m, from)
		m[to] = m[from]
		delete(m, from)
	}
	rename(types, "xa_node", "radix_tree_node")
	rename(fields("xarray"), "xa_head", "rnode")
	task := fields("task_struct")
	rename(task, "start_boottime", "real_start_time")
	rename(task, "pid_links", "pids")
	delete(task, "thread_pid")
	task["pids"].(map[string]any)["type"] = map[string]any{"kind": "array", "count": 3, "subtype": map[string]any{"kind": "struct", "name": "pid_link"}}
	pointer := map[string]any{"kind": "pointer", "subtype": map[string]any{"kind": "void", "name": "void"}}
	types["pid_link"] = map[string]any{"kind": "struct", "size": 24, "fields": map[string]any{
		"node": map[string]any{"offset": 0, "type": map[string]any{"kind": "struct", "name": "hlist_node"}},
		"pid":  map[string]any{"offset": 16, "type": pointer},
	}}
	types["hlist_node"] = map[string]any{"kind": "struct", "size": 16, "fields": map[string]any{
		"next": map[string]any{"offset": 0, "type": pointer}, "pprev": map[string]any{"offset": 8, "type": pointer},
	}}
	b, err = json.Marshal(d)
	require.NoError(t, err)
	return b
}

// layOut418 lays a kernel's pid index and links out as 4.18 does.
func layOut418(t *testing.T, s *imagetest.Sparse) {
	k, err := linux.Open(s, linux.Options{})
	require.NoError(t, err)
	v := objects.NewView(k)
	word := func(va uint64) uint64 {
		x, err := k.Space.U64(va)
		require.NoError(t, err)
		return x
	}
	put := func(va, x uint64) {
		pa, err := k.Space.Translate(va)
		require.NoError(t, err)
		s.Put(pa, []byte{byte(x), byte(x >> 8), byte(x >> 16), byte(x >> 24), byte(x >> 32), byte(x >> 40), byte(x >> 48), byte(x >> 56)})
	}
	// A task's struct pid, to after the first of its links.
	o := k.At(0, "task_struct")
	require.NoError(t, v.PIDs(func(_ int, task uint64) {
		put(task+o.Offset("pid_links")+16, word(task+o.Offset("thread_pid")))
	}))
	// Nodes are marked by 01 in the low bits, not 10.
	slots := k.At(0, "xa_node").Offset("slots")
	var mark func(at uint64)
	mark = func(at uint64) {
		e := word(at)
		if e&3 != 2 || e < 4096 {
			return
		}
		put(at, e^3)
		for i := range uint64(64) {
			mark(e&^3 + slots + 8*i)
		}
	}
	ns, err := k.Object("init_pid_ns", "pid_namespace")
	require.NoError(t, err)
	mark(ns.Member("idr.idr_rt.xa_head"))
}

// The mainline 4.18 could not be had, only Red Hat's, which has half of what 4.19 and
// 4.20 changed: a kernel of 6.1 is changed to be laid out as it is.
func TestOlderLayout(t *testing.T) {
	images, truths := fixture(t, "deb12-6.1")
	s := images[0].Clone()
	layOut418(t, s)
	a := process.New(process.Options{Symbols: olderTypes(t)})
	require.NoError(t, a.Feed(s))
	requireEqual(t, truths[0], a.At(1))
	require.Empty(t, a.Findings())
}
