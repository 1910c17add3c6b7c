package ring_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture/ring"
	"github.com/xentape/xentape/format"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fill makes n segments of a guest, a minute and size bytes each.
func fill(t *testing.T, r *ring.Ring, guest string, n, size int) []string {
	var names []string
	for i := range n {
		start := begin.Add(time.Duration(i) * time.Minute)
		name, err := r.Create(guest, start)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, make([]byte, size), 0o600))
		require.NoError(t, os.Chtimes(name, start.Add(time.Minute), start.Add(time.Minute)))
		names = append(names, name)
	}
	return names
}

func left(t *testing.T, r *ring.Ring) []string {
	all, err := r.Segments()
	require.NoError(t, err)
	var names []string
	for _, s := range all {
		names = append(names, s.Path)
	}
	return names
}

func TestOldestGoFirst(t *testing.T) {
	r, err := ring.Open(filepath.Join(t.TempDir(), "odd[name]*"), ring.Limits{Bytes: 350})
	require.NoError(t, err)
	names := fill(t, r, "web", 5, 100)
	stray := filepath.Join(filepath.Dir(names[0]), "notes.xtape")
	require.NoError(t, os.WriteFile(stray, nil, 0o600))
	gone, err := r.Expire(begin.Add(5*time.Minute), 0, nil, nil)
	require.NoError(t, err)
	require.Len(t, gone, 2)
	require.Equal(t, names[2:], left(t, r))
	require.FileExists(t, stray)
}

func TestAgeIsThatOfTheEnd(t *testing.T) {
	r, err := ring.Open(t.TempDir(), ring.Limits{Age: 2 * time.Minute})
	require.NoError(t, err)
	names := fill(t, r, "web", 5, 1)
	_, err = r.Expire(begin.Add(5*time.Minute), 0, map[string]bool{names[0]: true}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{names[0], names[2], names[3], names[4]}, left(t, r), "the open one stays")
}

// TestReleasedInOrder: what is handed on must be handed on in order, and not before it
// is complete.
func TestReleasedInOrder(t *testing.T) {
	r, err := ring.Open(t.TempDir(), ring.Limits{Age: time.Minute})
	require.NoError(t, err)
	web, mail := fill(t, r, "web", 4, 1), fill(t, r, "mail", 2, 1)
	var told []string
	_, err = r.Expire(begin.Add(time.Hour), 0, map[string]bool{web[1]: true}, func(s ring.Segment) {
		require.FileExists(t, s.Path)
		told = append(told, s.Path)
	})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{web[0], mail[0], mail[1]}, told)
	require.ElementsMatch(t, web[1:], left(t, r))
}

func TestPinnedSegmentsOutliveTheRing(t *testing.T) {
	r, err := ring.Open(t.TempDir(), ring.Limits{Age: time.Minute, Bytes: 100})
	require.NoError(t, err)
	fill(t, r, "web", 4, 100)
	fill(t, r, "other", 4, 100)
	pinned, err := r.Pin("web", begin.Add(150*time.Second), nil)
	require.NoError(t, err)
	require.Len(t, pinned, 2)
	again, err := r.Pin("web", begin.Add(150*time.Second), nil)
	require.NoError(t, err)
	require.Equal(t, pinned, again)
	_, err = r.Expire(begin.Add(time.Hour), 0, nil, nil)
	require.NoError(t, err)
	require.Empty(t, left(t, r))
	for _, p := range pinned {
		require.FileExists(t, p)
	}
}

// TestSpoolsGoWithTheirSegments: what a recorder that was killed left beside a tape is
// part of it.
func TestSpoolsGoWithTheirSegments(t *testing.T) {
	r, err := ring.Open(t.TempDir(), ring.Limits{Age: time.Minute})
	require.NoError(t, err)
	names := fill(t, r, "web", 2, 100)
	for _, n := range names {
		require.NoError(t, os.WriteFile(n+format.SpoolSuffix, []byte("left"), 0o600))
	}
	pinned, err := r.Pin("web", begin.Add(time.Minute+1), nil)
	require.NoError(t, err)
	require.Len(t, pinned, 1)
	_, err = r.Expire(begin.Add(time.Hour), 0, nil, nil)
	require.NoError(t, err)
	for _, n := range names {
		require.NoFileExists(t, n+format.SpoolSuffix)
	}
	require.FileExists(t, pinned[0]+format.SpoolSuffix)
	kept, err := filepath.Glob(filepath.Join(filepath.Dir(pinned[0]), "*"))
	require.NoError(t, err)
	require.Len(t, kept, 2)
}

func TestNeedFreesBytesOfUnpinnedOnly(t *testing.T) {
	r, err := ring.Open(t.TempDir(), ring.Limits{})
	require.NoError(t, err)
	names := fill(t, r, "web", 4, 100)
	_, err = r.Pin("web", begin.Add(3*time.Minute+1), nil)
	require.NoError(t, err)
	gone, err := r.Expire(begin.Add(time.Hour), 250, nil, nil)
	require.NoError(t, err)
	require.Len(t, gone, 3)
	require.Equal(t, names[3:], left(t, r))
}

func TestGuestNamesThatAreNoDirectoryAreRefused(t *testing.T) {
	r, err := ring.Open(t.TempDir(), ring.Limits{})
	require.NoError(t, err)
	for _, name := range []string{"", "..", "a/b", ".hidden", "nul\x00"} {
		_, err := r.Create(name, begin)
		require.Error(t, err, "%q", name)
	}
}
