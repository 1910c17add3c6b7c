//go:build linux

package disk

import (
	"bytes"
	"context"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/internal/blktrace"
	"github.com/xentape/xentape/capture/internal/bpf"
	"github.com/xentape/xentape/corpus/hostkernel"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// elsewhere opens the device and its watching as a broker in another process does: all
// that comes back is descriptors.
type elsewhere struct{ name string }

func (e elsewhere) Device() (*os.File, error) {
	return os.OpenFile(e.name, os.O_RDONLY|unix.O_DIRECT, 0)
}

func (e elsewhere) Watch(o bpf.Options) (*bpf.Blocks, error) {
	there, err := bpf.Open(o)
	if err != nil {
		return nil, err
	}
	files, err := there.Files()
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	return bpf.FromFiles(files, func() error { return errors.Join(there.Detach(), there.Close()) })
}

func (e elsewhere) Trace() (blktrace.Control, []*os.File, error) {
	return nil, nil, errors.ErrUnsupported
}

// live is a recording of a real device onto a real tape.
type live struct {
	s    *Source
	tape bytes.Buffer
	w    *format.Writer
	stop func()
}

func startLive(t *testing.T, c Config) *live {
	clock, err := capture.NewClock()
	require.NoError(t, err)
	l := &live{}
	l.w, err = format.NewWriter(&l.tape, format.WriterOptions{Producer: "test", Start: clock.Anchor()})
	require.NoError(t, err)
	c.Clock, c.Stream.Name = clock, "xvda"
	l.s = New(c)
	if c.DebugFS != "" { // as on a kernel without BPF
		l.s.open = func() (probe, error) { return nil, errors.ErrUnsupported }
	}
	if err := l.s.Attach(t.Context(), l.w); err != nil {
		able := hostkernel.ShowsBlocks(t)
		if c.DebugFS != "" {
			able = hostkernel.ShowsTrace(t)
		}
		need.Able(t, able, "watch the block layer", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.s.Run(ctx) }()
	l.stop = func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, l.s.Close())
		require.NoError(t, l.w.Seal())
	}
	return l
}

// rebuild is the disk as the tape has it at its end.
func (l *live) rebuild(t *testing.T, size int) ([]byte, []format.Record) {
	r, err := format.Open(bytes.NewReader(l.tape.Bytes()), int64(l.tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	require.Len(t, r.Snapshots(), 1)
	base, err := r.Snapshot(r.Snapshots()[0].Begin.ID)
	require.NoError(t, err)
	require.True(t, base.Info().End.Complete)
	disk := make([]byte, size)
	for n := 0; n < size/format.PageSize; n++ {
		st, err := base.ReadPage(uint64(n), disk[n*format.PageSize:(n+1)*format.PageSize])
		require.NoError(t, err)
		require.NotEqual(t, format.PageMissing, st)
	}
	var records []format.Record
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		records = append(records, rec)
	}
	apply(disk, records)
	return disk, records
}

// guestWrites writes at random places past the page cache until ctx ends, with
// discards and flushes between. It returns the longest a request took.
func guestWrites(t *testing.T, dev string, size int, seed int64, until time.Time) (requests int, slowest time.Duration) {
	f, err := os.OpenFile(dev, os.O_RDWR|unix.O_DIRECT, 0)
	require.NoError(t, err)
	defer f.Close()
	rng := rand.New(rand.NewSource(seed))
	buf := alignedBuffer(256 << 10)
	for ; time.Now().Before(until); requests++ {
		n := (1 + rng.Intn(len(buf)/4096)) * 4096
		off := rng.Intn((size-n)/4096) * 4096
		rng.Read(buf[:n])
		began := time.Now()
		switch rng.Intn(40) {
		case 0:
			r := [2]uint64{uint64(off), uint64(n)}
			require.NoError(t, discard(f, &r))
		case 1:
			require.NoError(t, f.Sync())
		default:
			_, err := f.WriteAt(buf[:n], int64(off))
			require.NoError(t, err)
		}
		slowest = max(slowest, time.Since(began))
	}
	return requests, slowest
}

func TestRealDevice(t *testing.T) {
	const size = 48 << 20
	dev := hostkernel.RAMDisk(t, size)
	guestWrites(t, dev, size, 1, time.Now().Add(100*time.Millisecond))
	l := startLive(t, Config{Device: dev, Ring: 64 << 20})
	requests, _ := guestWrites(t, dev, size, 2, time.Now().Add(500*time.Millisecond))
	require.Eventually(t, func() bool { return l.s.Status().Based == size }, 20*time.Second, 10*time.Millisecond)
	l.stop()
	require.Positive(t, l.s.Status().Requests)
	rebuilt, records := l.rebuild(t, size)
	requireDevice(t, dev, rebuilt)
	flushes, discards, ended := 0, 0, 0
	for _, rec := range records {
		switch rec := rec.(type) {
		case *format.DiskRequest:
			if rec.Op == format.DiskFlush {
				flushes++
			} else if rec.Op == format.DiskDiscard {
				discards++
			}
		case *format.DiskCompletion:
			require.Zero(t, rec.Status)
			ended++
		}
	}
	require.Positive(t, discards)
	t.Logf("%d requests of the guest, %d recorded, %d ended, %d flushes, %d discards", requests, l.s.Status().Requests, ended, flushes, discards)
}

// With a ring much too small the guest goes on at its speed, and in the end the
// tape has the disk all the same.
func TestRealDeviceOverload(t *testing.T) {
	const size = 48 << 20
	dev := hostkernel.RAMDisk(t, size)
	l := startLive(t, Config{Device: dev, Ring: 128 << 10, Opener: elsewhere{dev}})
	requests, slowest := guestWrites(t, dev, size, 3, time.Now().Add(time.Second))
	require.Eventually(t, func() bool { return l.s.Status().Based == size }, 20*time.Second, 10*time.Millisecond)
	l.stop()
	st := l.s.Status()
	require.Positive(t, st.Lost, "%d requests fitted a ring of 128 KiB", requests)
	rebuilt, records := l.rebuild(t, size)
	requireDevice(t, dev, rebuilt)
	gaps, lost, back := 0, uint64(0), 0
	for _, rec := range records {
		switch rec := rec.(type) {
		case *format.Gap:
			gaps++
			lost += rec.Count
			require.NotEqual(t, format.GapBudget, rec.Reason, "everything was read back")
		case *format.DiskRequest:
			if rec.Flags&format.DiskReadback != 0 {
				back++
			}
		}
	}
	require.Equal(t, st.Lost, lost)
	t.Logf("%d requests, slowest %v; %d lost in %d gaps, %d stretches read back", requests, slowest, st.Lost, gaps, back)
}

// Without BPF the block tracer tells what is written where, and the tape says that
// it has no content.
func TestRealDeviceWithoutBPF(t *testing.T) {
	const size = 16 << 20
	dev := hostkernel.RAMDisk(t, size)
	debugFS := mountDebugFS(t)
	l := startLive(t, Config{Device: dev, NoBase: true, DebugFS: debugFS})
	require.Contains(t, l.s.Notice(), "without their content")
	f, err := os.OpenFile(dev, os.O_RDWR|unix.O_DIRECT, 0)
	require.NoError(t, err)
	buf := alignedBuffer(8192)
	for i := range int64(40) {
		_, err := f.WriteAt(buf, i*16384)
		require.NoError(t, err)
	}
	require.NoError(t, discard(f, &[2]uint64{1 << 20, 8192}))
	require.NoError(t, f.Close())
	time.Sleep(300 * time.Millisecond)
	l.stop()
	r, err := format.Open(bytes.NewReader(l.tape.Bytes()), int64(l.tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	writes, discards, ended := map[uint64]bool{}, 0, 0
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		switch rec := rec.(type) {
		case *format.DiskRequest:
			if rec.Op == format.DiskDiscard {
				discards++
			} else if rec.Op == format.DiskWrite {
				require.NotZero(t, rec.Flags&format.DiskNoData)
				require.Equal(t, uint64(8192), rec.Length)
				writes[rec.Offset] = true
			}
		case *format.DiskCompletion:
			ended++
		}
	}
	for i := range uint64(40) {
		require.True(t, writes[i*16384], "write %d", i)
	}
	require.Equal(t, 1, discards)
	require.GreaterOrEqual(t, ended, 41)
	require.Len(t, r.Gaps(), 1)
	require.Equal(t, format.GapNoPayload, r.Gaps()[0].Reason)
}

func mountDebugFS(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, unix.Mount("debugfs", dir, "debugfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// What is said of a device beforehand is what recording it comes to.
func TestProspectOfARealDevice(t *testing.T) {
	const size = 16 << 20
	dev := hostkernel.RAMDisk(t, size)
	debugFS := mountDebugFS(t)
	p, err := New(Config{Device: dev, DebugFS: debugFS}).Probe()
	require.NoError(t, err)
	require.Equal(t, uint64(size), p.Size)
	if hostkernel.ShowsBlocks(t) {
		require.NoError(t, p.NoPayload)
		require.Equal(t, bpf.EndBio, p.Ends)
	}
	s := New(Config{Device: dev, DebugFS: debugFS})
	s.check = func(bpf.Options) error { return errors.ErrUnsupported }
	p, err = s.Probe()
	require.NoError(t, err)
	require.ErrorIs(t, p.NoPayload, errors.ErrUnsupported)
	require.Equal(t, "blktrace", p.Ends)
	s.c.DebugFS = t.TempDir()
	_, err = s.Probe()
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "and without BPF: block tracer: ")
	_, err = New(Config{Device: filepath.Join(t.TempDir(), "gone")}).Probe()
	require.ErrorIs(t, err, os.ErrNotExist)
}

// requireDevice compares what the device holds, past the page cache.
func requireDevice(t *testing.T, dev string, want []byte) {
	t.Helper()
	d, err := openDevice(dev, "/sys")
	require.NoError(t, err)
	defer d.close()
	require.Equal(t, len(want), int(d.size))
	got := alignedBuffer(len(want))
	require.NoError(t, d.read(got, 0))
	for off := 0; off < len(want); off += 4096 {
		require.True(t, bytes.Equal(want[off:off+4096], got[off:off+4096]), "block %d differs", off/4096)
	}
}
