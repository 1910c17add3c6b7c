package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/guard"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/capture/ring"
	"github.com/xentape/xentape/format"
)

// service is the flight recorder on an imaginary host.
type service struct {
	xen   *fakexen.Host
	store *fakexen.Store
	set   *recorderSet
	uuid  [16]byte
	stop  func()
	told  *journal
}

// journal is what the operator was told.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// trouble is all but what is said of every guest.
func (j *journal) trouble() (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		if !strings.Contains(line, ": recording ") && !strings.Contains(line, "is not recorded any more") {
			lines = append(lines, line)
		}
	}
	return lines
}

func startService(t *testing.T, change func(*config)) *service {
	return startServiceOf(t, nil, change)
}

// startServiceOf adds nodes to the xenstore of the imaginary host.
func startServiceOf(t *testing.T, nodes map[string]string, change func(*config)) *service {
	return startServiceFor(t, fakexen.NewHVM(5, 0, 1, 2, 3, 700), nodes, change)
}

// startServiceFor records a guest that has domain id 5.
func startServiceFor(t *testing.T, guest *fakexen.Domain, nodes map[string]string, change func(*config)) *service {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	s := &service{xen: fakexen.NewHost(guest), uuid: guest.UUID, told: &journal{}}
	tree := map[string]string{"/local/domain/5/name": "web", "/libxl/5/type": "pvh", "/local/domain/0/name": "Domain-0"}
	maps.Copy(tree, nodes)
	store := fakexen.NewStore(tree)
	s.store = store
	h, err := host.On(s.xen, store.Dial())
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	go guard.Serve(theirs, h.Xen, guard.Marks(stateDir()))
	cfg := defaults()
	cfg.Directory, cfg.Segment, cfg.Reserve = t.TempDir(), 300*time.Millisecond, 0
	cfg.Disk, cfg.Network = false, false
	cfg.Pause = time.Minute
	if change != nil {
		change(&cfg)
	}
	clock, err := capture.NewClock()
	require.NoError(t, err)
	r, err := ring.Open(cfg.Directory, ring.Limits{Age: cfg.Keep.Age, Bytes: int64(cfg.Keep.Bytes)})
	require.NoError(t, err)
	s.set = &recorderSet{
		config: &cfg, host: h, privs: &privileges{}, guard: guard.NewClient(ours, h.Xen), clock: clock, ring: r,
		console: &console{out: io.Discard, err: s.told}, shares: newShares(cfg.Limits.Memory), open: map[string]bool{}, rebase: map[string]bool{}, look: 200 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.set.run(ctx) }()
	s.stop = func() {
		cancel()
		require.NoError(t, <-done)
		require.Zero(t, s.xen.State(5).Pauses, "the guest was left paused")
	}
	return s
}

func (s *service) segments(t *testing.T) []ring.Segment {
	all, err := s.set.ring.Segments()
	require.NoError(t, err)
	return all
}

func openTape(t *testing.T, name string) *format.Reader {
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	require.NoError(t, err)
	rd, err := format.Open(f, info.Size(), format.ReaderOptions{})
	require.NoError(t, err)
	return rd
}

func TestSegmentsEachAreATapeOfTheirOwn(t *testing.T) {
	s := startService(t, nil)
	require.Eventually(t, func() bool { return len(s.segments(t)) >= 4 }, 30*time.Second, 10*time.Millisecond)
	s.stop()
	all := s.segments(t)
	var before int64
	for i, seg := range all {
		rd := openTape(t, seg.Path)
		require.True(t, rd.Sealed(), seg.Path)
		require.Empty(t, rd.Damage())
		anchors := rd.Anchors()
		require.NotEmpty(t, anchors)
		if i > 0 {
			require.Less(t, anchors[0].Time, before, "nothing falls between segments")
		}
		before = anchors[len(anchors)-1].Time
		if i < len(all)-1 { // the last may have been stopped in its first moments
			require.NotEmpty(t, rd.Snapshots())
		}
	}
}

func TestTriggerTakesASnapshotAndKeepsTheTapes(t *testing.T) {
	s := startService(t, func(c *config) { c.Segment, c.Keep.Age = time.Hour, time.Nanosecond })
	path := socketPath(s.uuid)
	var a *answer
	require.Eventually(t, func() bool {
		var err error
		a, err = ask(t.Context(), path, command{Verb: "trigger", Keep: duration(time.Minute)})
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.Len(t, a.Pinned, 1)
	require.GreaterOrEqual(t, a.Status.Memory.Snapshots, uint64(2))
	_, err := ask(t.Context(), path, command{Verb: "dance"})
	require.ErrorContains(t, err, `verb "dance" is not known`)
	s.stop()
	_, err = s.set.ring.Expire(time.Now().Add(time.Hour), 0, nil, nil)
	require.NoError(t, err)
	require.Empty(t, s.segments(t))
	rd := openTape(t, a.Pinned[0])
	require.True(t, rd.Sealed(), "a tape that is pinned while it is written is completed")
	require.GreaterOrEqual(t, len(rd.Snapshots()), 2)
}

// A service that was killed leaves a tape without its end. The next one goes on with
// the ring: it keeps, pins and gives up what the other left.
func TestRestartGoesOnWithTheRing(t *testing.T) {
	dir := t.TempDir()
	first := startService(t, func(c *config) { c.Directory, c.Segment = dir, time.Hour })
	require.Eventually(t, func() bool { return len(first.segments(t)) == 1 }, 30*time.Second, 10*time.Millisecond)
	first.stop()
	whole := first.segments(t)[0].Path
	text, err := os.ReadFile(whole)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(whole, text[:len(text)*3/4], 0o600)) // as kill -9 leaves it
	require.False(t, openTape(t, whole).Sealed())

	second := startService(t, func(c *config) { c.Directory, c.Segment = dir, time.Hour })
	require.Eventually(t, func() bool { return len(second.segments(t)) == 2 }, 30*time.Second, 10*time.Millisecond)
	var a *answer
	require.Eventually(t, func() bool {
		a, err = ask(t.Context(), socketPath(second.uuid), command{Verb: "trigger", Keep: duration(time.Hour)})
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.Len(t, a.Pinned, 2)
	second.stop()
	_, err = second.set.ring.Expire(time.Now().Add(24*time.Hour), 0, nil, nil)
	require.NoError(t, err)
	require.Empty(t, second.segments(t))
	require.True(t, openTape(t, a.Pinned[1]).Sealed())
}

func TestXenstoreKeyTriggers(t *testing.T) {
	s := startService(t, func(c *config) { c.Segment = time.Hour })
	require.Eventually(t, func() bool { return len(s.segments(t)) == 1 }, 30*time.Second, 10*time.Millisecond)
	pinned := func() bool { all := s.segments(t); return len(all) == 1 && all[0].Pinned }
	require.Eventually(t, func() bool {
		s.store.Set(triggerKey, "nobody 5m") // not this guest, and said to the operator
		s.store.Set(triggerKey, "web 5m")
		return pinned()
	}, 30*time.Second, 50*time.Millisecond)
	s.stop()
}

func TestTriggerOfAnEarlierServiceIsNotAnswered(t *testing.T) {
	s := startService(t, func(c *config) { c.Segment = time.Hour })
	s.stop()
	require.NoError(t, (&recorderSet{host: s.set.host, console: s.set.console}).triggerByKey(t.Context()), "nothing there")
	for value, says := range map[string]string{
		"": "is not", "a b c": "is not", "web soon": "no duration", "web -5m": "no duration",
	} {
		_, err := parseKeyTrigger(value)
		require.ErrorContains(t, err, says, value)
	}
	got, err := parseKeyTrigger("all")
	require.NoError(t, err)
	require.Equal(t, keyTrigger{"all", defaultKeep}, got)
}

func TestFullFileSystemIsAGapNotACrash(t *testing.T) {
	s := startService(t, nil)
	defer s.stop()
	f := &flight{set: s.set, guest: &host.Guest{Domain: 5, UUID: s.uuid, Name: "web"}}
	s.set.config.Reserve = 1 << 60
	require.ErrorIs(t, f.segment(t.Context(), make(chan struct{}), func() {}), errNoRoom)
	f.failure(errNoRoom)
	gap := f.takeFailure()
	require.Equal(t, format.GapDiskFull, gap.Reason)
	require.Equal(t, uint64(format.Unknown), gap.Count)
	require.Nil(t, f.takeFailure())

	// Whatever it failed of is told, from when on, also when the next one fails to.
	f.failure(errors.New("the device went away"))
	gap = f.takeFailure()
	require.Equal(t, format.GapUnknown, gap.Reason)
	from := gap.From
	f.failed = gap
	told, err := f.tell(func(format.Record) error { return unix.ENOSPC })
	require.False(t, told)
	require.ErrorIs(t, err, unix.ENOSPC)
	f.failure(errNoRoom)
	gap = f.takeFailure()
	require.Equal(t, from, gap.From)
	require.Equal(t, format.GapDiskFull, gap.Reason)
	told, err = f.tell(func(format.Record) error { t.Error("there is nothing to tell"); return nil })
	require.False(t, told)
	require.NoError(t, err)

	// The next segment may be recorded already when it fails.
	name := filepath.Join(t.TempDir(), "later.xtape")
	f.tape, err = createTape(name, tapeOptions{}, s.set.clock)
	require.NoError(t, err)
	f.failure(errNoRoom)
	f.tellLater(f.tape)
	require.NotNil(t, f.failed, "told on the tape that failed")
	f.tellLater(&tapeFile{})
	require.Nil(t, f.failed)
	require.NoError(t, f.tape.Seal())
	require.NoError(t, f.tape.Close())
	var reasons []format.GapReason
	for rec, err := range openTape(t, name).Records(format.Query{}) {
		require.NoError(t, err)
		if g, ok := rec.(*format.Gap); ok {
			reasons = append(reasons, g.Reason)
		}
	}
	require.Equal(t, []format.GapReason{format.GapDiskFull}, reasons)
}

func TestGuestThatIsGoneEndsItsFlight(t *testing.T) {
	s := startService(t, func(c *config) { c.Segment = time.Hour })
	require.Eventually(t, func() bool { return len(s.segments(t)) == 1 }, 30*time.Second, 10*time.Millisecond)
	s.xen.Kill(5)
	name := s.segments(t)[0].Path
	require.Eventually(t, func() bool { return openTape(t, name).Sealed() }, 30*time.Second, 50*time.Millisecond)
	s.stop()
}

func TestConfig(t *testing.T) {
	c, err := parseConfig(nil)
	require.NoError(t, err)
	require.Equal(t, 6*time.Hour, c.Keep.Age)
	require.True(t, c.sources(0).disk)
	c, err = parseConfig([]byte("guests: [web]\nsegment: 5m\nkeep: {age: 1h, bytes: 512MiB}\ndisk: false\nlimits: {memory: 1GiB, cpus: 1}\n"))
	require.NoError(t, err)
	require.Equal(t, size(512<<20), c.Keep.Bytes)
	require.False(t, c.sources(0).disk)
	require.True(t, c.sources(0).memory && c.sources(0).network, "each is turned off by itself")
	for text, says := range map[string]string{
		"segmnt: 5m":                          "field segmnt not found",
		"segment: 5s":                         "less than a minute",
		"track: magic":                        "not hash or logdirty",
		"keep: {bytes: 5XB}":                  "not like 64MiB",
		"keep: {bytes: -5}":                   "not like 64MiB",
		"disk-ring: 3MiB":                     "not a power of two",
		"pause-budget: 0s":                    "not positive",
		"directory: \"\"":                     "directory: empty",
		"base: sometimes":                     "not false, true or rolling",
		"{base: rolling, recipients: [age1]}": "encrypted to recipients",
		"keep: {bytes: 99999999TiB}":          "not like 64MiB",
	} {
		_, err := parseConfig([]byte(text))
		require.ErrorContains(t, err, says, fmt.Sprintf("%q", text))
	}
}

func TestSecondRecorderOfAGuestIsRefused(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	path := socketPath([16]byte{1})
	l, err := listen(path)
	require.NoError(t, err)
	go serve(t.Context(), l, func(context.Context, command) answer { return answer{} })
	_, err = listen(path)
	require.ErrorContains(t, err, "another recorder")
	// One that was killed leaves its socket behind: that is no recorder.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	l, err = listen(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// A service that ends while a segment begins leaves none that goes on from nothing.
func TestSegmentThatDoesNotBeginIsNotKept(t *testing.T) {
	s := startService(t, func(c *config) { c.Guests = []string{"another"} })
	defer s.stop()
	g, err := s.set.host.Find(t.Context(), "web")
	require.NoError(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	f := &flight{set: s.set, guest: g}
	require.NoError(t, f.segment(over, make(chan struct{}), cancel))
	require.Len(t, s.segments(t), 1, "the first one, before which there is nothing")
	first := f.current
	require.NotNil(t, first)
	time.Sleep(2 * time.Millisecond) // segments are named by the millisecond
	require.NoError(t, f.segment(over, make(chan struct{}), cancel))
	require.Len(t, s.segments(t), 1)
	require.Same(t, first, f.current)
	require.Empty(t, s.set.written())
}

// A guest that is being built holds nothing yet: its memory is recorded once it runs.
func TestMemoryOfAGuestThatIsBeingBuiltWaits(t *testing.T) {
	guest := fakexen.NewHVM(5, 0, 1, 2, 3, 700)
	guest.Building = true
	s := startServiceFor(t, guest, nil, func(c *config) { c.Segment = time.Hour })
	defer s.stop()
	require.Eventually(t, func() bool {
		for _, f := range s.set.flying() {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.current != nil
		}
		return false
	}, 20*time.Second, time.Millisecond)
	require.Zero(t, s.xen.State(5).Scanned)
	s.xen.Built(5)
	require.Eventually(t, func() bool { return s.xen.State(5).TimesPaused > 0 }, 20*time.Second, time.Millisecond)
}

// That no memory was recorded is still so when the guest has gone since.
func TestRecordingWithoutASnapshotIsNotWhole(t *testing.T) {
	guest := fakexen.NewHVM(5, 0, 1, 2)
	guest.PoDFirst, guest.PoDEntries = 3, 4
	s := startServiceFor(t, guest, nil, func(c *config) { c.Segment = time.Hour })
	defer s.stop()
	var of *session
	require.Eventually(t, func() bool {
		for _, f := range s.set.flying() {
			f.mu.Lock()
			if f.current != nil {
				of = f.current
			}
			f.mu.Unlock()
		}
		return of != nil && !of.whole()
	}, 20*time.Second, time.Millisecond)
	of.stop()
	require.False(t, of.whole())
}

func TestMemoryOnDemandIsReadWithLeave(t *testing.T) {
	guest := fakexen.NewHVM(5, 0, 1, 2)
	guest.PoDFirst, guest.PoDEntries, guest.PoDCache = 3, 4, 4
	s := startServiceFor(t, guest, nil, func(c *config) { c.Segment, c.AllowPoD = time.Hour, true })
	defer s.stop()
	require.Eventually(t, func() bool { return s.xen.State(5).TimesPaused > 0 }, 20*time.Second, time.Millisecond)
	require.False(t, s.xen.State(5).Crashed)
}
