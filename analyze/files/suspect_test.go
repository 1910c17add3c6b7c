package files

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestTamperingIsTold: what was written below a mounted ext4, by what it changed.
func TestTamperingIsTold(t *testing.T) {
	dir := unpack(t, "below")
	a, _ := openTrace(t, dir, Options{})
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	eachEntry(t, bytes.NewReader(log), func(r format.Record) { require.NoError(t, a.Feed(r)) })
	require.NoError(t, a.Finish())
	var got []string
	for _, f := range a.Findings() {
		if f.Kind == FindTamper {
			require.NotEmpty(t, f.Records)
			_, what, _ := strings.Cut(f.Reasons[0], "committed: ")
			got = append(got, f.Path+": "+what)
		}
	}
	require.Len(t, got, 4, "%q", got)
	require.Regexp(t, `^/d/one: inode \d+ uid 0 to 1234$`, got[0])
	require.Regexp(t, `^/d/two: inode \d+ mtime 2026-\S+ to 1972-02-19T00:06:25\S*$`, got[1])
	require.Regexp(t, `^/d/three: inode \d+ was freed$`, got[2])
	require.Equal(t, `/d: "two" went; "TWO" came`, got[3])
}

// suspects gives the kinds and severities found in events of files.
func suspects(events ...Event) []string {
	f := newFinder(&Analyzer{})
	for i := range events {
		events[i].Type = "file"
		f.see(&events[i])
	}
	out := []string{}
	for _, g := range f.list {
		out = append(out, g.Kind+" "+g.Severity)
	}
	return out
}

// TestLogsThatRotate: they take each other's names. Whoever wants a log gone renames it
// first, too, or calls it something else.
func TestLogsThatRotate(t *testing.T) {
	size, diff := uint64(100), "--- a\n+++ b\n@@\n-gone\n-gone\n"
	for what, c := range map[string]struct {
		e    Event
		want []string
	}{
		"a log removed":            {Event{Op: OpDelete, Path: "/var/log/syslog", Size: &size}, []string{"log-tampering medium"}},
		"a rotated one removed":    {Event{Op: OpDelete, Path: "/var/log/syslog.7", Size: &size}, []string{"log-tampering medium"}},
		"a packed one removed":     {Event{Op: OpDelete, Path: "/var/log/syslog.7.gz", Size: &size}, []string{"log-tampering medium"}},
		"by the second":            {Event{Op: OpDelete, Path: "/var/log/app.log-1795453135", Size: &size}, []string{"log-tampering medium"}},
		"an old one removed":       {Event{Op: OpDelete, Path: "/var/log/app.log.old", Size: &size}, []string{"log-tampering medium"}},
		"an empty one removed":     {Event{Op: OpDelete, Path: "/var/log/syslog.7", Size: new(uint64)}, []string{}},
		"what sed was writing":     {Event{Op: OpDelete, Path: "/var/log/sedXYXYXY", Size: &size}, []string{}},
		"another with such a name": {Event{Op: OpDelete, Path: "/var/log/used.log", Size: &size}, []string{"log-tampering medium"}},
		"moved away":               {Event{Op: OpRename, OldPath: "/var/log/syslog", Path: "/tmp/x"}, []string{"log-tampering medium"}},
		"moved to a name of sed's": {Event{Op: OpRename, OldPath: "/var/log/syslog", Path: "/var/log/sedXYXYXY"}, []string{"log-tampering medium"}},
		"renamed over an older":    {Event{Op: OpRename, OldPath: "/var/log/syslog", Path: "/var/log/syslog.1", Diff: diff, ReplacedInode: 7}, []string{}},
		"replaced by another file": {Event{Op: OpRename, OldPath: "/tmp/x", Path: "/var/log/syslog.1", Diff: diff, ReplacedInode: 7}, []string{"log-tampering high"}},
		"replaced by sed":          {Event{Op: OpRename, OldPath: "/var/log/sedXYXYXY", Path: "/var/log/syslog", Diff: diff, ReplacedInode: 7}, []string{"log-tampering high"}},
	} {
		require.Equal(t, c.want, suspects(c.e), what)
	}
}

// TestProgramsThatAreNew: one that was empty, or is of no form, before was not changed.
func TestProgramsThatAreNew(t *testing.T) {
	e := Event{Op: OpWrite, Path: "/usr/bin/x", MagicNew: "elf", SHA256Old: "e3b0", SHA256New: "aa"}
	require.Empty(t, suspects(e))
	for _, was := range []string{"elf", "script"} {
		e.MagicOld = was
		require.Equal(t, []string{"system-binary-changed medium"}, suspects(e))
	}
}

// TestEncryptedCopies: noise beside originals that go, told of in either order; a
// program that compresses does the same, and its files say so.
func TestEncryptedCopies(t *testing.T) {
	noise, size := 7.99, uint64(20000)
	wave := func(magic, ext string, deletedFirst bool) (out []Event) {
		for i := range 10 {
			original := fmt.Sprintf("/home/u/%d.txt", i)
			w := Event{Op: OpWrite, Path: original + ext, EntropyNew: &noise, Size: &size, Ranges: []Range{{Len: size}}, MagicNew: magic}
			d := Event{Op: OpDelete, Path: original}
			if out = append(out, w, d); deletedFirst {
				out[2*i], out[2*i+1] = d, w
			}
		}
		return out
	}
	for _, first := range []bool{false, true} {
		require.Equal(t, []string{"mass-encryption high"}, suspects(wave("", ".enc", first)...))
		require.Equal(t, []string{"mass-encryption high"}, suspects(wave("openssl-salted", ".enc", first)...))
		require.Empty(t, suspects(wave("gzip", ".gz", first)...))
	}
}

// TestEncryptedAndRenamedAtOnce: in one transaction the writes are told of under the
// new names.
func TestEncryptedAndRenamedAtOnce(t *testing.T) {
	noise, text, size := 7.99, 4.5, uint64(20000)
	f := newFinder(&Analyzer{})
	for i := range 10 {
		now := fmt.Sprintf("/home/u/%d.txt.crypt", i)
		f.see(&Event{Op: OpWrite, Type: "file", Path: now, EntropyNew: &noise, EntropyOld: &text, SHA256Old: "a", SHA256New: "b", Size: &size, Ranges: []Range{{Len: size}}})
		f.see(&Event{Op: OpRename, Type: "file", Path: now, OldPath: strings.TrimSuffix(now, ".crypt")})
	}
	require.Len(t, f.list, 1)
	require.Equal(t, []string{"10 files given a new extension", "10 files overwritten in place", `10 files now end in ".crypt"`}, f.list[0].Reasons)
}

// TestHowLongAProgramLasted: its end may be known only to lie between two commits.
func TestHowLongAProgramLasted(t *testing.T) {
	const second = Time(1e9)
	for want, at := range map[string][2]Time{
		"5s": {15 * second, 15*second + Time(tick)}, "5s to 7s": {15 * second, 17 * second},
		"at most 7s": {8 * second, 17 * second}, "at most 6s": {Unknown, 16 * second},
	} {
		require.Equal(t, want, lasted(10*second, &Event{TimeLower: at[0], TimeUpper: at[1]}))
	}
}
