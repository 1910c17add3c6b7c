package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/foreign"
	"github.com/xentape/xentape/format"
)

// TestMemoryRoundTrip: an image becomes a tape and comes out in every format, and
// each is read back page for page.
func TestMemoryRoundTrip(t *testing.T) {
	dir := t.TempDir()
	raw := make([]byte, 64*format.PageSize)
	for n := range 64 {
		if n%5 != 0 { // every fifth frame is zeros
			for i := range format.PageSize {
				raw[n*format.PageSize+i] = byte(n*7 + i*i>>3)
			}
		}
	}
	source := filepath.Join(dir, "guest.raw")
	require.NoError(t, os.WriteFile(source, raw, 0o644))
	tape := filepath.Join(dir, "t.xtape")
	ok(t, "import", "--paused", "--memory", source+"@2026-11-22T12:00:00Z", "-o", tape)
	for _, as := range []string{"raw", "lime", "elf", "xen-core"} {
		out := filepath.Join(dir, "out."+as)
		r := xentape(t, "export", "memory", tape, "--format", as, "-o", out)
		require.Equal(t, exitDone, r.code, r.err)
		m, c, err := openMemory(out, false)
		require.NoError(t, err, as)
		for _, w := range m.Warnings {
			require.Contains(t, w, "vCPU", "a raw image had no processor state to give")
		}
		require.Equal(t, as, m.Format)
		page := make([]byte, format.PageSize)
		for n := range uint64(64) {
			st, err := m.ReadPage(n, page)
			require.NoError(t, err)
			require.Contains(t, []format.PageState{format.PageData, format.PageZero}, st, "%s frame %d", as, n)
			require.True(t, bytes.Equal(raw[n*format.PageSize:(n+1)*format.PageSize], page), "%s frame %d", as, n)
		}
		require.NoError(t, c.Close())
		if as != "raw" {
			continue
		}
		require.Contains(t, r.err, "tells holes from zeros nowhere", "the loss is said")
	}
}

// TestWritesRoundTrip: a log a kernel wrote becomes a tape and comes out as a log that
// replays to the same disk and, read again, has the same requests at the same times.
func TestWritesRoundTrip(t *testing.T) {
	path, dir := tape(t)
	log := filepath.Join(dir, "out.log")
	ok(t, "export", "writes", path, "xvda", "-o", log)
	base, err := os.ReadFile(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	want := bytes.Clone(base)
	replayLog(t, filepath.Join(dir, "log"), want)
	replayLog(t, log, base)
	require.True(t, bytes.Equal(want, base), "both logs make the same disk")

	one, two := requests(t, filepath.Join(dir, "log")), requests(t, log)
	require.NotEmpty(t, one)
	require.Equal(t, len(one), len(two))
	for i := range one {
		require.Equal(t, one[i], two[i], "entry %d", i+1)
	}
}

// requests reads a log.
func requests(t *testing.T, path string) (all []format.Record) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	l, err := foreign.OpenLogWrites(bytes.NewReader(b), int64(len(b)), path)
	require.NoError(t, err)
	for r, err := range l.Records() {
		require.NoError(t, err)
		all = append(all, r)
	}
	return all
}

// TestCapturesRoundTrip: packets of a pcap and of a pcapng come out as they went in:
// bytes, times, lengths, link type.
func TestCapturesRoundTrip(t *testing.T) {
	_, dir := tape(t)
	first := filepath.Join(dir, "first.pcapng")
	again := filepath.Join(dir, "again.pcapng")
	in := filepath.Join(dir, "dns.pcap")
	var took [][]format.Packet
	for _, step := range [][2]string{{in, first}, {first, again}} {
		tape := step[1] + ".xtape"
		ok(t, "import", "--packets", "vif0="+step[0], "-o", tape)
		ok(t, "export", "packets", tape, "-o", step[1])
		took = append(took, packets(t, step[0]), packets(t, step[1]))
	}
	require.NotEmpty(t, took[0])
	for _, other := range took[1:] {
		require.Equal(t, took[0], other)
	}
}

// packets reads a capture; what a pcap cannot say, the direction, is left out.
func packets(t *testing.T, path string) (all []format.Packet) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	p, err := foreign.OpenPackets(f, path)
	require.NoError(t, err)
	for q, err := range p.All() {
		require.NoError(t, err)
		k := *q
		k.Direction, k.Comment, k.Stamp = 0, "", format.Stamp{Time: q.Time}
		k.Data = bytes.Clone(q.Data)
		all = append(all, k)
	}
	return all
}

// TestRealGuestsMemoryRoundTrips: a snapshot of the shipped recording, of a PV guest,
// goes out as a Xen core, becomes a tape again, and holds the same processes. LiME has
// no place for what translates a PV guest's addresses: its frames are the same, and
// the loss is said.
func TestRealGuestsMemoryRoundTrips(t *testing.T) {
	dir := t.TempDir()
	recorded := shipped + "/web-intrusion/tape.xtape"
	core, again, lime := filepath.Join(dir, "guest.core"), filepath.Join(dir, "again.xtape"), filepath.Join(dir, "guest.lime")
	ok(t, "export", "memory", recorded, "--at", "#2", "--format", "xen-core", "-o", core)
	ok(t, "import", "--paused", "--memory", core+"@2026-11-22T23:19:50Z", "-o", again)
	want, got := processes(t, "--at", "#2", recorded), processes(t, again)
	require.NotEmpty(t, want)
	require.Equal(t, want, got)

	r := xentape(t, "export", "memory", recorded, "--at", "#2", "--format", "lime", "-o", lime)
	require.Equal(t, exitDone, r.code, r.err)
	require.Contains(t, r.err, "xen/p2m")
	a, done, err := memoryOf(&keyFlags{}, recorded, "#2")
	require.NoError(t, err)
	defer done()
	b, closer, err := openMemory(lime, false)
	require.NoError(t, err)
	defer closer.Close()
	x, y := make([]byte, format.PageSize), make([]byte, format.PageSize)
	for _, e := range a.Extents() {
		for n := e.Start; n < e.Start+e.Count; n++ {
			_, err := a.ReadPage(n, x)
			require.NoError(t, err)
			_, err = b.ReadPage(n, y)
			require.NoError(t, err)
			if !bytes.Equal(x, y) {
				t.Fatalf("frame %d differs", n)
			}
		}
	}
}

// processes lists what ps says of each process, but for when it was seen.
func processes(t *testing.T, args ...string) (all []string) {
	t.Helper()
	for _, p := range lines(t, ok(t, append([]string{"ps", "--json"}, args...)...)) {
		if p["summary"] == nil {
			all = append(all, fmt.Sprint(p["pid"], p["ppid"], p["comm"], p["args"], p["exe"], p["cwd"], p["uid"], p["task_address"], p["grade"]))
		}
	}
	return all
}
