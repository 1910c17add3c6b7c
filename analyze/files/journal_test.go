package files

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// twoDisks reads the traces of a filesystem's disk and of its journal's as one, in
// the order of time.
func twoDisks(t *testing.T, dir string) (records []format.Record, journal map[format.Record]bool) {
	journal = map[format.Record]bool{}
	for _, name := range []string{"log", "journal.log"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		eachEntry(t, bytes.NewReader(b), func(r format.Record) {
			if w, ok := r.(*format.DiskRequest); ok {
				w.Data = bytes.Clone(w.Data)
			}
			records = append(records, r)
			journal[r] = name == "journal.log"
		})
	}
	slices.SortStableFunc(records, func(a, b format.Record) int { return cmp.Compare(a.Header().Time, b.Header().Time) })
	for i, r := range records {
		r.Header().Seq = uint64(i + 1)
	}
	return records, journal
}

func openDisk(t *testing.T, image string, o Options) *Analyzer {
	f, err := os.Open(image)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	o.Disk = filepath.Base(image)
	a, err := New(uint64(st.Size()), &fileImage{f, st.Size()}, o)
	require.NoError(t, err)
	return a
}

// TestExternalJournal: an ext4 whose journal is on another disk, and an XFS whose log is,
// are followed through that, as exactly as one with the journal inside.
func TestExternalJournal(t *testing.T) {
	for _, name := range []string{"extjournal", "xfslog"} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, name)
			calls, commits := follow(allOps(t, dir)), map[uint64]bool{}
			for _, e := range externalJournal(t, dir) {
				require.True(t, calls.explain(&e), "%+v", e)
				commits[e.Transaction] = true
			}
			require.Greater(t, len(commits), 8, "events come with commits")
		})
	}
}

// externalJournal follows a trace of two disks and compares the trees at every mark.
func externalJournal(t *testing.T, dir string) []Event {
	j := openDisk(t, filepath.Join(dir, "journal.img"), Options{})
	a := openDisk(t, filepath.Join(dir, "base.img"), Options{Hash: true, Beside: func() []*Analyzer { return []*Analyzer{j} }})
	records, ofJournal := twoDisks(t, dir)
	var events []Event
	marks := 0
	for _, r := range records {
		if ofJournal[r] {
			require.NoError(t, j.Feed(r))
		} else {
			require.NoError(t, a.Feed(r))
		}
		events = append(events, a.Events()...)
		if m, ok := r.(*format.Mark); ok && strings.HasPrefix(m.Text, "cp") {
			marks++
			want := readManifest(t, filepath.Join(dir, "man", m.Text+".jsonl"))
			require.Empty(t, compare(t, a.State(), want), m.Text)
			require.Empty(t, compare(t, a.Crash(), want), m.Text)
			require.Empty(t, a.SelfCheck(), m.Text)
		}
	}
	require.NoError(t, a.Finish())
	require.NoError(t, j.Finish())
	manifests, err := filepath.Glob(filepath.Join(dir, "man", "cp*.jsonl"))
	require.NoError(t, err)
	require.NotZero(t, marks)
	require.Len(t, manifests, marks)
	require.Empty(t, a.Problems())
	require.Empty(t, j.Problems())
	return append(events, a.Events()...)
}

// TestExternalJournalMissing: without the journal's disk that is said, once, and what
// is written in place is told, not called tampering.
func TestExternalJournalMissing(t *testing.T) {
	for name, text := range map[string]string{
		"extjournal": "journal: it is on another device, UUID f7384f98-3a06-451e-a1aa-f98034fb542e, which is not on the tape",
		"xfslog":     "the log is on another device, with UUID e865a1ff-6f8f-446c-8754-ee1a6ec5a76c in its records, which is not on the tape",
	} {
		t.Run(name, func(t *testing.T) { withoutJournal(t, unpack(t, name), text) })
	}
}

func withoutJournal(t *testing.T, dir, text string) {
	a := openDisk(t, filepath.Join(dir, "base.img"), Options{Hash: true})
	records, ofJournal := twoDisks(t, dir)
	for _, r := range records {
		if !ofJournal[r] {
			require.NoError(t, a.Feed(r))
		}
	}
	require.NoError(t, a.Finish())
	require.Len(t, a.Problems(), 1)
	require.Equal(t, "unsupported", a.Problems()[0].Kind)
	require.Contains(t, a.Problems()[0].Text, text)
	require.False(t, a.Complete())
	require.True(t, slices.ContainsFunc(a.Events(), func(e Event) bool { return e.Op == OpCreate && e.Path == "/usr/bin/.bd" }))
	for _, f := range a.Findings() {
		require.NotEqual(t, FindTamper, f.Kind)
	}
}
