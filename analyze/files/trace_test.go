package files

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// fileImage is a raw disk image as a base.
type fileImage struct {
	f    io.ReaderAt
	size int64
}

func (i *fileImage) Extents() []format.Extent {
	return []format.Extent{{Count: uint64(i.size+format.PageSize-1) / format.PageSize}}
}

func (i *fileImage) ReadPage(n uint64, dst []byte) (format.PageState, error) {
	clear(dst[:format.PageSize])
	if int64(n)*format.PageSize >= i.size {
		return format.PageAbsent, nil
	}
	if _, err := i.f.ReadAt(dst[:format.PageSize], int64(n)*format.PageSize); err != nil && !errors.Is(err, io.EOF) {
		return format.PageMissing, err
	}
	return format.PageData, nil
}

// eachEntry reads a dm-log-writes log (drivers/md/dm-log-writes.c) as records of
// a disk stream. Time is the wall clock the tracer left at byte 504.
func eachEntry(t testing.TB, log io.Reader, do func(format.Record)) {
	t.Helper()
	r := bufio.NewReaderSize(log, 1<<20)
	var h [512]byte
	_, err := io.ReadFull(r, h[:])
	require.NoError(t, err)
	le := binary.LittleEndian
	require.Equal(t, uint64(0x6a736677736872), le.Uint64(h[:]), "magic of the log")
	n := le.Uint64(h[16:])
	buf := make([]byte, 8<<20)
	for seq := uint64(1); seq <= n; seq++ {
		_, err := io.ReadFull(r, h[:])
		require.NoError(t, err)
		sector, count, flags, length := le.Uint64(h[0:]), le.Uint64(h[8:]), le.Uint64(h[16:]), le.Uint64(h[24:])
		stamp := format.Stamp{Seq: seq, Time: int64(le.Uint64(h[504:]))}
		if seq == 1 {
			do(&format.Anchor{Stamp: stamp, Realtime: stamp.Time})
		}
		req := &format.DiskRequest{Stamp: stamp, ID: seq, Flags: format.DiskApplied, Offset: sector * 512, Length: count * 512}
		switch {
		case flags&8 != 0:
			do(&format.Mark{Stamp: stamp, Text: string(h[32 : 32+length])})
			continue
		case flags&4 != 0:
			req.Op = format.DiskDiscard
		case count == 0:
			req.Op = format.DiskFlush
		default:
			req.Op = format.DiskWrite
			req.Data = buf[:count*512]
			_, err := io.ReadFull(r, req.Data)
			require.NoError(t, err)
		}
		do(req)
	}
}

// openTrace starts an analyzer on a trace directory.
func openTrace(t testing.TB, dir string, o Options) (*Analyzer, *os.File) {
	t.Helper()
	base, err := os.Open(filepath.Join(dir, "base.img"))
	require.NoError(t, err)
	t.Cleanup(func() { base.Close() })
	st, err := base.Stat()
	require.NoError(t, err)
	log, err := os.Open(filepath.Join(dir, "log"))
	require.NoError(t, err)
	t.Cleanup(func() { log.Close() })
	o.Disk = "xvda"
	a, err := New(uint64(st.Size()), &fileImage{base, st.Size()}, o)
	require.NoError(t, err)
	return a, log
}

// replayTrace feeds a whole trace and compares the tree at every mark.
func replayTrace(t *testing.T, dir string, o Options) (*Analyzer, []Event) {
	a, log := openTrace(t, dir, o)
	var events []Event
	marks, cached := 0, 0
	folded := newFolder(a.State())
	eachEntry(t, log, func(r format.Record) {
		require.NoError(t, a.Feed(r))
		now := a.Events()
		events = append(events, now...)
		folded.add(now)
		m, ok := r.(*format.Mark)
		if !ok || !strings.HasPrefix(m.Text, "cp") {
			return
		}
		marks++
		want, n := truth(t, dir, m.Text, a.State())
		cached += n
		bad := compare(t, a.State(), want)
		folded.flush()
		for p := range want {
			if folded.paths[p] == "" {
				bad = append(bad, "by events missing "+p)
			}
		}
		for p := range folded.paths {
			if want[p].Path == "" {
				bad = append(bad, "by events extra "+p)
			}
		}
		bad = append(bad, a.SelfCheck()...)
		if mounted := mountedAt(t, dir, m.Text); mounted != nil {
			for _, b := range compare(t, a.Crash(), beforeNow(a, mounted)) {
				bad = append(bad, "after a crash "+b)
			}
		}
		if len(bad) > 0 {
			t.Errorf("%s at %s: %d differences: %v", filepath.Base(dir), m.Text, len(bad), bad[:min(len(bad), 8)])
		}
	})
	require.NoError(t, a.Finish())
	events = append(events, a.Events()...)
	t.Logf("%s: %d marks compared, %d events, %d problems", filepath.Base(dir), marks, len(events), len(a.Problems()))
	if cached > 0 {
		t.Logf("%d times a file's content was another in the guest's memory than on its disk, as a kernel mounts that", cached)
	}
	for i, p := range a.Problems() {
		if i < 10 {
			t.Logf("problem: %+v", p)
		}
	}
	return a, events
}

// data is a trace of the large data set: see testdata/README.md.
func data(t testing.TB, name string) string {
	t.Helper()
	dir := need.Recording(t, "disk", name, name)
	require.FileExists(t, filepath.Join(dir, "log"))
	return dir
}

// eachTrace runs a test on every trace below XENTAPE_TRACES that has part.
func eachTrace(t *testing.T, part string, f func(t *testing.T, dir string)) {
	parts, err := filepath.Glob(filepath.Join(need.Named(t, "XENTAPE_TRACES", "a folder of traces as testdata/README.md describes"), "*", part))
	require.NoError(t, err)
	require.NotEmpty(t, parts)
	for _, p := range parts {
		dir := filepath.Dir(p)
		t.Run(filepath.Base(dir), func(t *testing.T) { f(t, dir) })
	}
}

func TestExt4AttackAtEveryMark(t *testing.T) {
	a, events := replayTrace(t, data(t, "ext4-attack"), Options{Hash: true})
	require.NotEmpty(t, events)
	require.Empty(t, a.Problems())
	dump(t, events)
}

// dump writes events to the file XENTAPE_DUMP names, to look at by hand.
func dump(t *testing.T, events []Event) {
	name := os.Getenv("XENTAPE_DUMP")
	if name == "" {
		return
	}
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, e := range events {
		require.NoError(t, enc.Encode(e))
	}
}

// TestMoreTraces replays every trace found under XENTAPE_TRACES, made with other
// filesystem options.
func TestMoreTraces(t *testing.T) {
	eachTrace(t, "log", func(t *testing.T, dir string) {
		if _, err := os.Stat(filepath.Join(dir, "journal.log")); err == nil {
			externalJournal(t, dir)
			return
		}
		_, events := replayTrace(t, dir, Options{Hash: true})
		dump(t, events)
	})
}

// TestRecallAndPrecision measures the events of every trace against its system calls.
func TestRecallAndPrecision(t *testing.T) {
	eachTrace(t, "ops.jsonl", recallAndPrecision)
}

func recallAndPrecision(t *testing.T, dir string) {
	a, log := openTrace(t, dir, Options{})
	var events []Event
	at := map[uint64]int64{}
	commits, last := map[commitTime]bool{}, int64(0)
	eachEntry(t, log, func(r format.Record) {
		at[r.Header().Seq] = r.Header().Time
		if m, ok := r.(*format.Mark); ok && strings.HasPrefix(m.Text, "cp") {
			commits[commitTime{m.Time, m.Time}] = true
		}
		require.NoError(t, a.Feed(r))
		now := a.Events()
		events = append(events, now...)
		if len(a.volumes) > 0 && a.volumes[0].last != last { // a commit of everything
			last = a.volumes[0].last
			for _, e := range now {
				if e.Transaction != 0 && len(e.Ranges) == 0 { // content has records of its own
					commits[commitTime{at[e.FirstRecord], at[e.LastRecord]}] = true
				}
			}
		}
	})
	require.NoError(t, a.Finish())
	events = append(events, a.Events()...)
	if slices.Contains(a.volumes[0].info.Features, "encrypt") && encrypted(events) {
		t.Log("names on the disk are ciphertext, those in the log are not")
		return
	}
	measure(t, dir, events, slices.SortedFunc(maps.Keys(commits), func(a, b commitTime) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last)) }), a.volumes[0].info.Journaled)
}

// encrypted reports whether any name is ciphertext.
func encrypted(events []Event) bool {
	return slices.ContainsFunc(events, func(e Event) bool { return strings.Contains(e.Path, "<encrypted:") })
}

// TestPrefixesAgainstTheKernel compares both views, after N entries of a trace,
// with what a kernel showed that mounted base plus these N writes: PREFIX is a
// folder N.jsonl beside the log. The kernel had to replay the journal.
func TestPrefixesAgainstTheKernel(t *testing.T) {
	eachTrace(t, "prefix", prefixes)
}

func prefixes(t *testing.T, dir string) {
	a, log := openTrace(t, dir, Options{})
	n, compared, live, crash := uint64(0), 0, 0, 0
	paths, unread := 0, 0
	refused, err := filepath.Glob(filepath.Join(dir, "prefix", "*.refused"))
	require.NoError(t, err)
	eachEntry(t, log, func(r format.Record) {
		if _, anchor := r.(*format.Anchor); anchor {
			require.NoError(t, a.Feed(r))
			return
		}
		name := filepath.Join(dir, "prefix", fmt.Sprintf("%d.jsonl", n))
		n++
		if _, err := os.Stat(name); err == nil {
			compared++
			want := beforeNow(a, readManifest(t, name))
			paths += len(want)
			for _, m := range want {
				if m.Err != "" {
					unread++
				}
			}
			if bad := compare(t, a.State(), want); len(bad) > 0 {
				live++
				t.Logf("live view after %d entries: %d differences: %v", n-1, len(bad), bad[:min(len(bad), 6)])
			}
			if bad := compare(t, a.Crash(), want); len(bad) > 0 {
				crash++
				t.Errorf("crash view after %d entries: %d differences: %v", n-1, len(bad), bad[:min(len(bad), 6)])
			}
		}
		require.NoError(t, a.Feed(r))
	})
	require.NotZero(t, compared)
	t.Logf("%d prefixes; differ: live %d, crash %d; the kernel refused to mount %d more, and to read %d of %d paths", compared, live, crash, len(refused), unread, paths)
}

// measure counts, against the system calls, the events that nothing explains and the
// calls that do not show.
func measure(t *testing.T, dir string, events []Event, commits []commitTime, journaled bool) {
	ops := allOps(t, dir)
	calls := follow(ops)
	calls.unhide(events)
	ofNames, unexplained, others, unlogged := 0, 0, 0, 0
	for _, e := range events {
		name := slices.Contains([]Op{OpCreate, OpMkdir, OpSymlink, OpLink, OpRename, OpUnlink, OpDelete, OpRmdir}, e.Op)
		if name {
			ofNames++
		}
		switch {
		case calls.explain(&e) || e.Subvolume > topSubvolume || e.Subvolume != 0 && (e.Inode == 256 || !strings.HasPrefix(e.Path, "/w/")):
			// A subvolume, and what is done outside the workload, is not in the log.
		case !calls.logs[path.Base(logged(e.Path))] && (e.OldPath == "" || !calls.logs[path.Base(logged(e.OldPath))]):
			unlogged++ // of what ran beside the workload
		default:
			b, _ := json.Marshal(e)
			t.Logf("unexplained: %.300s", b)
			if name {
				unexplained++
			} else {
				others++
			}
		}
	}
	t.Logf("precision: of %d events of names %d unexplained, %.2f%%; of %d others %d",
		ofNames, unexplained, 100-100*float64(unexplained)/float64(max(ofNames, 1)), len(events)-ofNames, others)
	if unlogged > 0 {
		t.Logf("and %d of files that no call in the log mentions", unlogged)
	}
	recall(t, ops, calls, events, commits, journaled)
	require.Zero(t, unexplained+others, "precision")
}

// topSubvolume is the tree of btrfs's top level (BTRFS_FS_TREE_OBJECTID).
const topSubvolume = 5
