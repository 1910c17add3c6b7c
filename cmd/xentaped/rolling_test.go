package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/ring"
	"github.com/xentape/xentape/format"
)

// segmentOf writes a segment in which each byte of block n of disk xvda becomes fill; a
// segment that continues none begins with an image of 16 blocks of zeros.
func segmentOf(t *testing.T, r *ring.Ring, at time.Time, continues string, n uint64, fill byte, more ...format.Record) string {
	path, err := r.Create("guest", at)
	require.NoError(t, err)
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := format.NewWriter(f, format.WriterOptions{Producer: "test", Start: format.Anchor{Stamp: format.Stamp{Time: 1}}})
	require.NoError(t, err)
	def := format.StreamDef{Kind: format.StreamDisk, Name: "xvda", Size: 16 * format.PageSize}
	if continues != "" {
		def.Attrs = []format.Attr{{Name: "continues", Value: filepath.Base(continues)}}
	}
	id, err := w.DefineStream(def)
	require.NoError(t, err)
	if continues == "" {
		begin := format.SnapshotBegin{Pages: 16}
		begin.Stream = id
		s, err := w.BeginSnapshot(begin)
		require.NoError(t, err)
		for page := range uint64(16) {
			require.NoError(t, s.Page(page, make([]byte, format.PageSize)))
		}
		end := format.SnapshotEnd{ID: s.ID(), Conditions: format.Conditions{Complete: true}}
		end.Stream = id
		require.NoError(t, s.End(end))
	}
	q := format.DiskRequest{ID: 1, Op: format.DiskWrite, Offset: n * format.PageSize, Length: format.PageSize, Data: bytes.Repeat([]byte{fill}, format.PageSize)}
	q.Stream, q.Time = id, 10
	c := format.DiskCompletion{ID: 1}
	c.Stream, c.Time = id, 11
	for _, rec := range append([]format.Record{&q, &c}, more...) {
		switch r := rec.(type) {
		case *format.StreamDef:
			_, err := w.DefineStream(*r)
			require.NoError(t, err)
			continue
		case *format.Gap:
			r.Stream = id
		}
		require.NoError(t, w.Write(rec))
	}
	require.NoError(t, w.Seal())
	require.NoError(t, f.Close())
	require.NoError(t, os.Chtimes(path, at, at))
	return path
}

// fills is the first byte of each block of the image of xvda in a folder, and the
// segment it is of; "" when there is none.
func fills(t *testing.T, dir string) (blocks []byte, after string) {
	images, err := imagesIn(dir)
	require.NoError(t, err)
	if len(images) == 0 {
		return nil, ""
	}
	require.Len(t, images, 1)
	text, err := os.ReadFile(images[0].path)
	require.NoError(t, err)
	for at := 0; at < len(text); at += format.PageSize {
		blocks = append(blocks, text[at])
	}
	return bytes.TrimRight(blocks, "\x00"), images[0].after
}

func rollingSet(t *testing.T) (set *recorderSet, told *bytes.Buffer) {
	cfg := defaults()
	cfg.Directory, cfg.Reserve, cfg.Base = t.TempDir(), 0, baseRolling
	cfg.Keep.Age = time.Hour
	r, err := ring.Open(cfg.Directory, ring.Limits{Age: cfg.Keep.Age})
	require.NoError(t, err)
	told = &bytes.Buffer{}
	return &recorderSet{config: &cfg, ring: r, console: &console{out: told, err: told}, open: map[string]bool{}, rebase: map[string]bool{}}, told
}

func TestWhatExpiresIsFoldedIntoTheBase(t *testing.T) {
	set, told := rollingSet(t)
	now := time.Now()
	var paths []string
	last := ""
	for i := range 5 {
		// Two are older than an hour, three are not.
		last = segmentOf(t, set.ring, now.Add(time.Duration(i)*10*time.Minute-75*time.Minute), last, uint64(i), byte(i+1))
		paths = append(paths, last)
	}
	base := set.imagesDir("guest")
	require.NoError(t, set.makeRoom())
	blocks, after := fills(t, base)
	require.Equal(t, []byte{1, 2}, blocks)
	require.Equal(t, filepath.Base(paths[1]), after)
	require.NoFileExists(t, paths[0])
	require.NoFileExists(t, paths[1])
	require.FileExists(t, paths[2])
	require.Empty(t, told.String())

	// What is kept of the last two comes with the disk as it was before them.
	pinned, err := set.ring.Pin("guest", now.Add(-46*time.Minute), nil)
	require.NoError(t, err)
	require.Len(t, pinned, 2)
	require.NoError(t, set.keepImages(t.Context(), "guest", pinned[0]))
	blocks, after = fills(t, filepath.Dir(pinned[0]))
	require.Equal(t, []byte{1, 2, 3}, blocks)
	require.Equal(t, filepath.Base(paths[2]), after)
	require.NoError(t, set.keepImages(t.Context(), "guest", pinned[0]), "a second trigger finds it there")

	// A service that died between folding a segment and giving it up.
	set.fold(ring.Segment{Path: paths[2], Guest: "guest", Start: now})
	_, after = fills(t, base)
	require.Equal(t, filepath.Base(paths[4]), after)
	set.fold(ring.Segment{Path: paths[2], Guest: "guest", Start: now})
	blocks, _ = fills(t, base)
	require.Equal(t, []byte{1, 2, 3, 4, 5}, blocks)
	require.Empty(t, told.String())
	require.Empty(t, set.rebase)
}

// An image that has no continuation, or whose continuation is not whole, is not kept:
// it would look like the disk.
func TestBaseThatCannotGoOnIsNotKept(t *testing.T) {
	begin := time.Now().Add(-3 * time.Hour)
	unread := &format.Gap{Reason: format.GapBudget, From: 1, To: 2, Extents: []format.Extent{{Start: 0, Count: 4096}}}
	unread.Time = 20
	for name, next := range map[string]func(set *recorderSet, first string) string{
		"from elsewhere": func(set *recorderSet, first string) string {
			return segmentOf(t, set.ring, begin.Add(time.Minute), "another.xtape", 1, 2)
		},
		"not read back": func(set *recorderSet, first string) string {
			return segmentOf(t, set.ring, begin.Add(time.Minute), first, 1, 2, unread)
		},
		"came back": func(set *recorderSet, first string) string {
			again := &format.StreamDef{Kind: format.StreamDisk, Name: "xvda", Size: 16 * format.PageSize}
			return segmentOf(t, set.ring, begin.Add(time.Minute), first, 1, 2, again)
		},
		"no tape": func(set *recorderSet, first string) string {
			path, err := set.ring.Create("guest", begin.Add(time.Minute))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, []byte("nothing"), 0o600))
			require.NoError(t, os.Chtimes(path, begin, begin))
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, told := rollingSet(t)
			first := segmentOf(t, set.ring, begin, "", 0, 1)
			second := next(set, first)
			require.NoError(t, set.makeRoom())
			_, after := fills(t, set.imagesDir("guest"))
			require.Empty(t, after)
			require.NoFileExists(t, second)
			// Where the recorder could not know, the next segment begins anew.
			known := name == "from elsewhere" || name == "came back"
			require.Equal(t, !known, set.rebase["guest"])
			require.Equal(t, !known, told.Len() > 0)
			again := segmentOf(t, set.ring, begin.Add(2*time.Minute), "", 5, 9)
			require.NoError(t, set.makeRoom())
			blocks, after := fills(t, set.imagesDir("guest"))
			require.Equal(t, []byte{0, 0, 0, 0, 0, 9}, blocks)
			require.Equal(t, filepath.Base(again), after)
		})
	}
}

// A disk that comes back within a segment does not go on from the segment before.
func TestDiskThatComesBackNeedsAnImage(t *testing.T) {
	before := &session{
		devices: map[string]capture.Source{"xvda": disk.New(disk.Config{})},
		lineage: lineage{tape: "1.xtape", before: &session{}, roots: map[string]root{"xvda": {"/dev/a", "0.xtape"}}},
	}
	s := &session{want: sources{rolling: true}, lineage: lineage{tape: "2.xtape", before: before}}
	require.Equal(t, "1.xtape", s.inherit("xvda", "/dev/a"))
	require.Empty(t, s.inherit("xvda", "/dev/a"))
}
