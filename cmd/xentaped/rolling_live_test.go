package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture/disk"
	"github.com/xentape/xentape/capture/host"
	"github.com/xentape/xentape/corpus/hostkernel"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format/rebuild"
	"github.com/xentape/xentape/replay"
)

// The service records a real disk of an imaginary guest, segment after segment, while
// the disk is written. What it gives up is in the image beside the ring: with what is
// left, and with what a trigger kept, the disk is rebuilt byte for byte.
func TestRollingRingOfARealDisk(t *testing.T) {
	const size = 8 << 20
	dev := hostkernel.RAMDisk(t, size)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dev, &st))
	const node = "/local/domain/0/backend/vbd/5/51712/"
	s := startServiceOf(t, map[string]string{
		node + "dev": "xvda", node + "type": "phy", node + "mode": "w", node + "params": dev,
		node + "physical-device":            fmt.Sprintf("%x:%x", unix.Major(st.Rdev), unix.Minor(st.Rdev)),
		"/libxl/5/device/vbd/51712/backend": filepath.Dir(node + "x"),
	}, func(c *config) {
		c.Memory, c.Disk, c.Base, c.Segment, c.Keep.Age, c.DiskRing = false, true, baseRolling, 2*time.Second, 3*time.Second, 4<<20
	})
	own := filepath.Join(s.set.config.Directory, host.FormatUUID(s.uuid))
	f, err := os.OpenFile(dev, os.O_RDWR|unix.O_DIRECT, 0)
	require.NoError(t, err)
	defer f.Close()
	write := writer(t, f, size)
	var first []image
	for limit := time.Now().Add(50 * time.Second); time.Now().Before(limit); {
		write()
		images, err := imagesIn(filepath.Join(own, "base"))
		require.NoError(t, err)
		if len(first) == 0 {
			first = images
			if len(s.segments(t)) > 0 && len(images) == 0 {
				requireRecorded(t, s)
			}
		} else if len(images) > 0 && images[0].after != first[0].after {
			break
		}
	}
	require.NotEmpty(t, first, "nothing was folded: %s", s.told.trouble())
	a, err := ask(t.Context(), socketPath(s.uuid), command{Verb: "trigger"})
	require.NoError(t, err)
	require.NotEmpty(t, a.Pinned)
	require.Equal(t, 1, a.Status.Kept.Images.Files)
	require.Positive(t, a.Status.Kept.Images.Bytes)
	require.GreaterOrEqual(t, a.Status.Kept.Ring.Files, len(a.Pinned), "what is pinned is in the ring yet")
	for range 20 {
		write()
	}
	var kept []image
	require.Eventually(t, func() bool {
		kept, err = imagesIn(filepath.Join(own, "pinned"))
		return err == nil && len(kept) == 1
	}, time.Minute, 50*time.Millisecond, "%s", s.told.trouble())
	// A segment that begins while the service ends has nothing to go on from: end it
	// right after one has begun.
	before := s.recording()
	require.Eventually(t, func() bool { now := s.recording(); return now != nil && now != before }, 30*time.Second, 10*time.Millisecond)
	s.stop()
	require.Empty(t, s.told.trouble())

	want := make([]byte, size)
	d, err := os.ReadFile(dev)
	require.NoError(t, err)
	copy(want, d)
	images, err := imagesIn(filepath.Join(own, "base"))
	require.NoError(t, err)
	require.Len(t, images, 1)
	require.NotEqual(t, first[0].after, images[0].after, "more than one segment was folded")
	var left []string
	for _, seg := range s.segments(t) {
		if filepath.Base(seg.Path) > images[0].after {
			left = append(left, seg.Path)
		}
	}
	requireDisk(t, want, images[0], left)
	pinned, err := filepath.Glob(filepath.Join(own, "pinned", "*.xtape"))
	require.NoError(t, err)
	require.Subset(t, pinned, a.Pinned)
	last := filepath.Base(pinned[len(pinned)-1])
	for _, path := range left {
		if filepath.Base(path) > last { // begun after the trigger
			pinned = append(pinned, path)
		}
	}
	if images[0].after > last && len(left) > 0 {
		// On a busy machine what came right after the trigger is folded already: with the
		// tapes kept the rest does not make the disk, and that is said.
		_, losses := rebuilt(t, kept[0], pinned)
		require.NotEmpty(t, losses)
		return
	}
	requireDisk(t, want, kept[0], pinned)
}

// recording is the disk of the segment being recorded; nil: none.
func (s *service) recording() *disk.Source {
	for _, f := range s.set.flying() {
		f.mu.Lock()
		current := f.current
		f.mu.Unlock()
		if current != nil {
			current.mu.Lock()
			defer current.mu.Unlock()
			src, _ := current.devices["xvda"].(*disk.Source)
			return src
		}
	}
	return nil
}

// requireRecorded leaves the test out where this kernel does not show its blocks.
func requireRecorded(t *testing.T, s *service) {
	trouble := s.told.trouble()
	if src := s.recording(); src != nil && src.Notice() != "" || len(trouble) > 0 {
		s.stop()
		need.Able(t, hostkernel.ShowsBlocks(t), "watch the block layer", errors.New(strings.Join(trouble, " ")))
	}
}

// writer writes somewhere in the device, past the page cache, as a guest does.
func writer(t *testing.T, f *os.File, size int) func() {
	buf, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Munmap(buf) })
	rng := rand.New(rand.NewPCG(1, 1))
	return func() {
		n := (1 + rng.IntN(4)) * 4096
		for i := 0; i < n; i += 8 {
			buf[i], buf[i+7] = byte(rng.Uint32()), byte(rng.Uint32())
		}
		_, err := f.WriteAt(buf[:n], int64(rng.IntN((size-n)/4096)*4096))
		require.NoError(t, err)
		time.Sleep(5 * time.Millisecond)
	}
}

// requireDisk: an image and the tapes after it make up the disk.
func requireDisk(t *testing.T, want []byte, from image, tapes []string) {
	t.Helper()
	got, losses := rebuilt(t, from, tapes)
	require.Empty(t, losses)
	require.True(t, bytes.Equal(want, got), "%s and %d tapes are not the disk", from.path, len(tapes))
}

// rebuilt is the disk as an image and the tapes after it make it.
func rebuilt(t *testing.T, from image, tapes []string) (got []byte, losses []string) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, copyWithHoles(work, from.path))
	f, err := os.OpenFile(work, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var disks []*rebuild.Disk
	for _, path := range tapes {
		tape, err := replay.Open(path, replay.Options{})
		require.NoError(t, err)
		defer tape.Close()
		require.True(t, tape.Reader().Sealed())
		parts, err := tape.DisksNamed("xvda", replay.End)
		require.NoError(t, err)
		disks = append(disks, parts...)
	}
	losses, err = rebuild.Chain(f, from.after, disks, math.MaxInt64)
	require.NoError(t, err)
	got, err = os.ReadFile(work)
	require.NoError(t, err)
	return got, losses
}
