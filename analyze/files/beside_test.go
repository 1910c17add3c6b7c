package files

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// followed replays commits into an analyzer and returns what that took, and what
// indexing the base took before.
func (j *journaled) followed(commits, n, size int, o Options) (index, stream time.Duration, mb float64, events int) {
	f, err := os.Open(j.image)
	require.NoError(j.t, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(j.t, err)
	o.Disk, o.Emit = "xvda", func(Event) { events++ }
	a, err := New(uint64(st.Size()), &fileImage{f, st.Size()}, o)
	require.NoError(j.t, err)
	start := time.Now()
	a.State()
	index = time.Since(start)
	j.feed = func(r *format.DiskRequest) {
		if err := a.Feed(r); err != nil {
			j.t.Fatal(err)
		}
	}
	total := 0
	start = time.Now()
	j.mount()
	for range commits {
		total += j.commit(n, size)
	}
	stream = time.Since(start)
	require.NoError(j.t, a.Finish())
	require.Empty(j.t, a.Problems())
	require.NotZero(j.t, events)
	return index, stream, float64(total) / 1e6, events
}

// listed is how the same is done today: apply the writes up to each commit, list
// everything with fls -r -m, compare with the list before. It returns the time of
// one commit.
func (j *journaled) listed(commits, n, size int) time.Duration {
	image, err := os.OpenFile(j.image, os.O_RDWR, 0)
	require.NoError(j.t, err)
	defer image.Close()
	var was map[string]string
	var spent time.Duration
	j.feed = func(r *format.DiskRequest) {
		_, err := image.WriteAt(r.Data, int64(r.Offset))
		require.NoError(j.t, err)
	}
	for range commits {
		start := time.Now()
		j.commit(n, size)
		out, err := exec.Command("fls", "-r", "-m", "/", j.image).Output()
		require.NoError(j.t, err)
		now := map[string]string{}
		for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
			if _, rest, ok := strings.Cut(s.Text(), "|"); ok {
				name, attrs, _ := strings.Cut(rest, "|")
				now[name] = attrs
			}
		}
		changed := 0
		for p, attrs := range now {
			if was[p] != attrs {
				changed++
			}
		}
		was = now
		spent += time.Since(start)
	}
	require.Greater(j.t, len(was), len(j.files))
	return spent / time.Duration(commits)
}

// BenchmarkBesideFls follows a disk commit by commit, and does the same by
// listing it after each commit with The Sleuth Kit and comparing. The Sleuth Kit
// replays no journal: it sees changes later, and here not at all.
func BenchmarkBesideFls(b *testing.B) {
	for _, c := range []struct {
		name                  string
		files, bytes, commits int
		writes                int // files changed by a commit
		disk                  string
	}{
		// As measured of a mount with commit=1 under a busy script: 540 commits of
		// about 8 operations each.
		{"busy-small-disk", 3000, 8192, 540, 8, "512M"},
		// Half an hour at the default of a commit each five seconds.
		{"100000-files", 100000, 512, 360, 40, "2G"},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				j := newJournaled(b, c.files, c.bytes, c.disk)
				index, stream, _, _ := j.followed(c.commits, c.writes, c.bytes, Options{})
				mine := (index + stream) / time.Duration(c.commits)
				b.ReportMetric(float64(index.Microseconds())/1e3, "index-ms")
				b.ReportMetric(float64(stream.Microseconds())/1e3/float64(c.commits), "stream-ms/commit")
				if _, ok := need.Peer(b, "sleuthkit", "fls"); !ok {
					continue
				}
				theirs := j.listed(10, c.writes, c.bytes)
				b.ReportMetric(float64(theirs.Microseconds())/1e3, "fls+diff-ms/commit")
				b.ReportMetric(float64(theirs)/float64(mine), "x-fls")
			}
		})
	}
}

// BenchmarkThroughput follows files being overwritten in bulk; MB are those of
// the trace.
func BenchmarkThroughput(b *testing.B) {
	j := newJournaled(b, 2000, 128<<10, "800M")
	for _, c := range []struct {
		name string
		o    Options
	}{{"plain", Options{}}, {"sha256-old-and-new", Options{Hash: true}}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				_, stream, mb, _ := j.followed(12, 300, 128<<10, c.o)
				b.ReportMetric(mb/stream.Seconds(), "trace-MB/s")
				b.ReportMetric(mb, "trace-MB")
			}
		})
	}
}
