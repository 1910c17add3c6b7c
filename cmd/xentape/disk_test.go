package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
	"github.com/xentape/xentape/replay"
)

// TestFilesAtAMoment: listings, versions and single files at marks, from a tape and
// from the files it was made of, in both views.
func TestFilesAtAMoment(t *testing.T) {
	dir := trace(t, "ext4")
	base, log := "xvda="+filepath.Join(dir, "base.img"), "xvda="+filepath.Join(dir, "log")
	tape := filepath.Join(t.TempDir(), "t.xtape")
	ok(t, "import", "--base", base, "--writes", log, "-o", tape)
	for _, mark := range []string{"cp0002", "cp0007"} {
		man, err := os.ReadFile(filepath.Join(dir, "man", mark+".jsonl"))
		require.NoError(t, err)
		want := map[string]map[string]any{}
		for _, m := range lines(t, string(man)) {
			want[m["path"].(string)] = m
		}
		for _, view := range []string{"live", "crash"} {
			a := lines(t, ok(t, "files", "--list", "--json", "--at", "@"+mark, "--view", view, tape))
			require.Equal(t, a, lines(t, ok(t, "files", "--list", "--json", "--at", "@"+mark, "--view", view, "--base", base, "--writes", log)))
			require.Len(t, a, len(want))
			for _, e := range a {
				w := want[e["path"].(string)]
				require.NotNil(t, w, e["path"])
				require.Equal(t, w["ino"], e["inode"])
				require.Equal(t, w["sha"], e["sha256"], e["path"])
			}
			sum := sha256.Sum256([]byte(ok(t, "cat", tape, "xvda:/etc/passwd", "--at", "@"+mark, "--view", view)))
			require.Equal(t, want["/etc/passwd"]["sha"], hex.EncodeToString(sum[:]))
		}
	}
	vs := lines(t, ok(t, "files", "--versions", "--json", "--path", "/etc/passwd", tape))
	require.Greater(t, len(vs), 1)
	require.Equal(t, "create", vs[0]["op"])
	require.NotEqual(t, vs[0]["sha256"], vs[1]["sha256"])
	ok(t, "files", "--self-check", tape)
	for _, args := range [][]string{{"--versions"}, {"--view", "crash"}, {"--list", "--view", "x"}, {"--list", "--versions", "--path", "x"}, {"--list", "--residue"}} {
		require.Equal(t, exitUsage, xentape(t, append([]string{"files", tape}, args...)...).code, args)
	}
	require.Equal(t, exitFailed, xentape(t, "files", "--list", "--at", "@nothing", tape).code)
	r := xentape(t, "files", "--residue", tape)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.err, "is not read from this filesystem")
	require.Empty(t, r.out)
}

// TestExportDiskViews: the live image differs from the crash image while metadata
// waits in the journal.
func TestExportDiskViews(t *testing.T) {
	dir, out := trace(t, "ext4"), t.TempDir()
	tape := filepath.Join(out, "t.xtape")
	ok(t, "import", "--base", "xvda="+filepath.Join(dir, "base.img"), "--writes", "xvda="+filepath.Join(dir, "log"), "-o", tape)
	events := lines(t, ok(t, "files", "--json", tape))
	require.NotEmpty(t, events)
	differ := 0
	for k := range 6 {
		// The commit that carried an event, and the record it came with.
		at, known := events[k*len(events)/6]["observed"].(string)
		require.True(t, known, events[k*len(events)/6])
		var images [2]string
		for i, view := range []string{"live", "crash"} {
			name := filepath.Join(out, fmt.Sprint("d", k, view))
			ok(t, "export", "disk", tape, "xvda", "--at", at, "--view", view, "-o", name)
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			images[i] = string(b)
		}
		if images[0] != images[1] {
			differ++
		}
	}
	require.NotZero(t, differ)
}

// TestBlockLogArguments: what cannot be a block trace is refused, by the file's name
// and with what to do, and no tape is made of it.
func TestBlockLogArguments(t *testing.T) {
	dir := trace(t, "ext4")
	base, log := filepath.Join(dir, "base.img"), filepath.Join(dir, "log")
	for _, c := range []struct {
		base, writes, says string
		code               int
	}{
		{dir, log, "is a folder", exitFailed},
		{base, dir, "is a folder", exitFailed},
		{filepath.Join(dir, "none"), log, "no such file", exitFailed},
		{base, filepath.Join(dir, "none"), "no such file", exitFailed},
		{base, base, "not a dm-log-writes log", exitFailed},
		{"sda=" + base, "sdb=" + log, "name one disk", exitUsage},
		{"", log, "--base is needed", exitUsage},
	} {
		r := xentape(t, "files", "--base", c.base, "--writes", c.writes)
		require.Equal(t, c.code, r.code, r.err)
		require.Contains(t, r.err, c.says)
		require.Empty(t, r.out)
	}
	out := filepath.Join(t.TempDir(), "t.xtape")
	r := xentape(t, "import", "--base", "xvda="+dir, "--writes", "xvda="+log, "-o", out)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "is a folder")
	require.NoFileExists(t, out)
}

// TestDiskRecordedAnew: a guest that was built anew, or a time without room, makes a disk
// one more stream of the same name. Asked by name it is the one of the moment.
func TestDiskRecordedAnew(t *testing.T) {
	const size = 2 * format.PageSize
	name := filepath.Join(t.TempDir(), "t.xtape")
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	w, err := format.NewWriter(f, format.WriterOptions{Producer: "test", Start: format.Anchor{Stamp: format.Stamp{Time: 1}, Realtime: 1}})
	require.NoError(t, err)
	page := func(c byte) []byte { return bytes.Repeat([]byte{c}, format.PageSize) }
	begin := func(at int64, image byte) format.StreamID {
		def := format.StreamDef{Kind: format.StreamDisk, Name: "xvda", Size: size}
		def.Time = at
		id, err := w.DefineStream(def)
		require.NoError(t, err)
		if image != 0 {
			b := format.SnapshotBegin{Pages: size / format.PageSize}
			b.Stream, b.Time = id, at
			s, err := w.BeginSnapshot(b)
			require.NoError(t, err)
			for n := range b.Pages {
				require.NoError(t, s.Page(n, page(image)))
			}
			end := format.SnapshotEnd{ID: s.ID(), Conditions: format.Conditions{Complete: true, CopyStart: at, CopyEnd: at}}
			end.Stream, end.Time = id, at
			require.NoError(t, s.End(end))
		}
		r := format.DiskRequest{ID: 1, Op: format.DiskWrite, Flags: format.DiskApplied, Length: format.PageSize, Data: page(image + 1)}
		r.Stream, r.Time = id, at+1e9
		require.NoError(t, w.Write(&r))
		return id
	}
	first := begin(1e9, 'a')
	second := begin(10e9, 'p')
	begin(20e9, 0)
	require.NoError(t, w.Seal())

	exported := func(code int, args ...string) (image []byte, told string) {
		out := filepath.Join(t.TempDir(), "disk.img")
		r := xentape(t, append([]string{"export", "disk", name, "xvda", "-o", out}, args...)...)
		require.Equal(t, code, r.code, r.err)
		image, err := os.ReadFile(out)
		require.NoError(t, err)
		return image, r.err
	}
	image, _ := exported(exitDone, "--at", "+5s")
	require.Equal(t, append(page('b'), page('a')...), image)
	image, _ = exported(exitDone, "--at", "+15s")
	require.Equal(t, append(page('q'), page('p')...), image)
	image, told := exported(exitIncomplete)
	require.Equal(t, append(page(1), page('p')...), image)
	require.Contains(t, told, "xvda was not recorded for a time: what was written meanwhile is not known")

	tape, err := replay.Open(name, replay.Options{})
	require.NoError(t, err)
	defer tape.Close()
	for _, id := range []format.StreamID{first, second} {
		d, err := tape.DiskOf(id)
		require.NoError(t, err)
		require.Equal(t, id, d.Def.ID)
		require.Equal(t, id, d.Info.Begin.Stream)
	}
	for _, disk := range []string{"", "xvda"} {
		disks, err := disksAt(tape, disk, replay.Moment{Time: 15e9})
		require.NoError(t, err)
		require.Len(t, disks, 1)
		require.Equal(t, second, disks[0].Def.ID)
		disks, err = disksOf(tape, disk, replay.End)
		require.NoError(t, err)
		require.Len(t, disks, 3)
	}
	_, err = tape.DiskOf(second + 100)
	require.ErrorContains(t, err, "is no disk")
	_, err = tape.DiskAt("xvdz", replay.End)
	require.ErrorContains(t, err, `no disk "xvdz": the tape has ["xvda"]`)
}
