package memory_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/capture"
	"github.com/xentape/xentape/capture/fakexen"
	"github.com/xentape/xentape/capture/internal/hypercall"
	"github.com/xentape/xentape/capture/memory"
	"github.com/xentape/xentape/format"
)

func TestSnapshotOfHVMIsWhatTheGuestHolds(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, nil)
	cond := r.snapshot()
	want := contents(host, sparse())
	require.True(t, cond.Paused)
	require.True(t, cond.Complete)
	require.False(t, cond.Fuzzy)
	require.Equal(t, "full", cond.Method)
	require.Equal(t, uint64(format.Unknown), cond.Missed)
	rd := r.reader()
	requireImage(t, rd, 1, want)
	s, err := rd.Snapshot(1)
	require.NoError(t, err)
	require.Equal(t, []string{"xen/grant-table", "xen/hvm-context", "xen/hvm-params", "xen/tsc-info", "xen/vcpu/0"}, s.Attachments())
	st, err := s.ReadPage(5000, make([]byte, format.PageSize))
	require.NoError(t, err)
	require.Equal(t, format.PageAbsent, st)
}

func TestIncrementalByHash(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	r := record(t, host, nil)
	r.snapshot()
	first := contents(host, sparse())
	require.True(t, host.GuestWrite(guestID, 17, []byte("changed")))
	require.True(t, host.GuestWrite(guestID, 0x5ff1, []byte("changed too")))
	host.Depopulate(guestID, 40)
	host.Populate(guestID, 3500)
	cond := r.snapshot()
	require.Equal(t, "hash", cond.Method)
	require.Equal(t, uint64(4), cond.Changed)
	pages := append(slices.DeleteFunc(sparse(), func(n uint64) bool { return n == 40 }), 3500)
	second := contents(host, pages)
	rd := r.reader()
	requireImage(t, rd, 1, first)
	requireImage(t, rd, 2, second)
	require.Equal(t, uint32(1), rd.Snapshots()[1].Begin.Parent)
}

// fallible is a way to the hypervisor that fails once.
type fallible struct {
	*fakexen.Host
	left int // mappings until then
}

func (f *fallible) Map(domain uint16, frames []uint64) (*hypercall.Mapping, error) {
	if f.left--; f.left == 0 {
		return nil, syscall.ENOMEM
	}
	return f.Host.Map(domain, frames)
}

// TestFailedSnapshotLeavesNothing: what one has read before it fails is not told by the
// next, which may have no such page any more.
func TestFailedSnapshotLeavesNothing(t *testing.T) {
	for left := 1; left <= 4; left++ {
		host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
		r := recordThrough(t, &fallible{host, left}, host, nil)
		require.ErrorIs(t, r.src.Snapshot(t.Context()), syscall.ENOMEM)
		gone := func(n uint64) bool { return n%100 < 3 }
		for _, n := range sparse() {
			if gone(n) {
				host.Depopulate(guestID, n)
			}
		}
		require.True(t, r.snapshot().Complete)
		pages := slices.DeleteFunc(sparse(), gone)
		want := contents(host, pages)
		requireImage(t, r.reader(), 2, want)
	}
}

func TestGuestWritesDuringTheLiveCopyAreInTheImage(t *testing.T) {
	for _, track := range []memory.Tracking{memory.TrackHash, memory.TrackLogDirty} {
		t.Run(string(track), func(t *testing.T) {
			host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
			n := uint64(0)
			host.OnMap = func(d uint16) { // writes behind and before the reader
				n++
				host.GuestWrite(d, n%3000, []byte{byte(n), byte(n >> 8), 1})
				host.GuestWrite(d, (n*977)%3000, []byte{byte(n), 2})
			}
			r := record(t, host, func(c *memory.Config) { c.Tracking = track })
			for id := uint32(1); id <= 3; id++ {
				cond := r.snapshot()
				require.True(t, cond.Paused)
				require.False(t, cond.Fuzzy)
			}
			want := contents(host, sparse())
			rd := r.reader()
			requireImage(t, rd, 3, want)
		})
	}
}

func TestFramesThatCannotBeReadAreSaid(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sequence(0, 50)...))
	host.Break(guestID, 20)
	r := record(t, host, nil)
	require.True(t, r.snapshot().Complete)
	rd := r.reader()
	s, err := rd.Snapshot(1)
	require.NoError(t, err)
	st, err := s.ReadPage(20, make([]byte, format.PageSize))
	require.NoError(t, err)
	require.Equal(t, format.PageUnreadable, st)
}

func TestGuestThatDiesMidSnapshotLeavesAnIncompleteImage(t *testing.T) {
	host := fakexen.NewHost(fakexen.NewHVM(guestID, sparse()...))
	maps := 0
	host.OnMap = func(d uint16) {
		if maps++; maps == 2 {
			host.Kill(d)
		}
	}
	x, err := hypercall.New(host, hypercall.Options{})
	require.NoError(t, err)
	clock, err := capture.NewClock()
	require.NoError(t, err)
	var tape bytes.Buffer
	w, err := format.NewWriter(&tape, format.WriterOptions{Producer: "test", Start: clock.Anchor()})
	require.NoError(t, err)
	src := memory.New(memory.Config{Xen: x, Pauser: &directPauser{x: x}, Clock: clock, Domain: guestID, Automatic: 1})
	require.NoError(t, src.Attach(t.Context(), w))
	require.Error(t, src.Run(t.Context()))
	require.NoError(t, w.Seal())
	rd, err := format.Open(bytes.NewReader(tape.Bytes()), int64(tape.Len()), format.ReaderOptions{})
	require.NoError(t, err)
	require.False(t, rd.Snapshots()[0].End.Complete)
}

// What a description lacks is said, and what there is of it is on the tape.
func TestDescriptionThatIsNotWhole(t *testing.T) {
	r := record(t, fakexen.NewHost(fakexen.NewHVM(guestID, 0, 1, 2)), func(c *memory.Config) {
		c.Describe = func(context.Context) ([]memory.Blob, error) {
			return []memory.Blob{{Name: "xenstore", Data: []byte("half")}}, errors.New("xenstored went away")
		}
	})
	require.True(t, r.snapshot().Complete)
	rd := r.reader()
	require.Contains(t, eventKinds(t, rd), "snapshot-part-missing")
	s, err := rd.Snapshot(1)
	require.NoError(t, err)
	require.Contains(t, s.Attachments(), "xenstore")
}

func TestSnapshotOfARecordingThatEnded(t *testing.T) {
	s := memory.New(memory.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	require.EqualError(t, s.Snapshot(t.Context()), "the recording of memory has ended")
}
