//go:build linux

package capture

import (
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/format"
)

// maxSlew is how fast adjtimex may make the wall clock drift from
// CLOCK_MONOTONIC_RAW, in parts per million (MAXFREQ, linux/timex.h).
const maxSlew = 500

// anchorTries is how often Anchor reads the clocks to find a narrow bracket.
const anchorTries = 5

// ClockReader reads one of the kernel's clocks (unix.CLOCK_*), in nanoseconds.
type ClockReader func(id int32) int64

// Clock is the recording host's time: CLOCK_MONOTONIC is the spine, anchors tie
// the other clocks to it. Its methods are safe for concurrent use.
type Clock struct {
	read   ClockReader
	bootID [16]byte

	mu         sync.Mutex
	prev, last format.Anchor // the two latest anchors; zero Time = none yet
}

// NewClock returns the clock of this host.
func NewClock() (*Clock, error) {
	const name = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("boot id: %w", err)
	}
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(id) != 16 {
		return nil, fmt.Errorf("boot id: %s holds %q, which is no UUID", name, text)
	}
	return NewClockFrom(kernelClock, [16]byte(id)), nil
}

// NewClockFrom returns a clock on other readings than the kernel's.
func NewClockFrom(read ClockReader, bootID [16]byte) *Clock {
	return &Clock{read: read, bootID: bootID}
}

func kernelClock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// Now is CLOCK_MONOTONIC in nanoseconds.
func (c *Clock) Now() int64 { return c.read(unix.CLOCK_MONOTONIC) }

// BootID is the boot id of this host: monotonic times compare only within one.
func (c *Clock) BootID() [16]byte { return c.bootID }

// Anchor reads all clocks close together. It sets Stepped when the wall clock
// was set since the previous anchor of this Clock.
func (c *Clock) Anchor() format.Anchor {
	var best format.Anchor
	for range anchorTries {
		if a := c.readAnchor(); best.Time == 0 || a.Bracket < best.Bracket {
			best = a
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Time != 0 {
		moved := absDiff(offset(&best), offset(&c.last))
		best.Stepped = moved > slack(&c.last, &best)
	}
	c.prev, c.last = c.last, best
	return best
}

func (c *Clock) readAnchor() format.Anchor {
	a := format.Anchor{BootID: c.bootID}
	before := c.read(unix.CLOCK_MONOTONIC)
	a.Realtime = c.read(unix.CLOCK_REALTIME)
	a.Boottime = c.read(unix.CLOCK_BOOTTIME)
	a.TAI = c.read(unix.CLOCK_TAI)
	after := c.read(unix.CLOCK_MONOTONIC)
	a.Time = before + (after-before)/2
	a.Bracket = clampUint32(after - before)
	a.Uncertainty = a.Bracket/2 + 1
	return a
}

// Monotonic converts a CLOCK_REALTIME stamp of this host, as the kernel puts on
// packets, to CLOCK_MONOTONIC. The uncertainty, in nanoseconds, grows with the
// distance from the anchors and covers a step of the wall clock between them.
// Anchor must have been called before; without one the uncertainty is unbounded.
func (c *Clock) Monotonic(realtime int64) (mono int64, uncertainty uint32) {
	c.mu.Lock()
	prev, last := c.prev, c.last
	c.mu.Unlock()
	if last.Time == 0 {
		return c.Now(), math.MaxUint32
	}
	if last.Stepped && prev.Time != 0 {
		return acrossStep(&prev, &last, realtime)
	}
	if prev.Time == 0 || realtime >= last.Realtime {
		return extrapolate(&last, realtime)
	}
	if realtime <= prev.Realtime {
		return extrapolate(&prev, realtime)
	}
	return interpolate(&prev, &last, realtime)
}

// extrapolate places a wall clock reading by one anchor: the clocks may have
// drifted apart by 500 ppm of the distance.
func extrapolate(a *format.Anchor, realtime int64) (int64, uint32) {
	mono := realtime - offset(a)
	far := absDiff(mono, a.Time)
	return mono, clampUint32(int64(a.Bracket) + far/1e6*maxSlew + far%1e6*maxSlew/1e6)
}

// acrossStep places a wall clock reading when the clock was set between the two
// anchors: it may be of before or of after. A reading that makes sense only one way
// is taken that way; else both must lie within the uncertainty.
func acrossStep(prev, last *format.Anchor, realtime int64) (int64, uint32) {
	before, wide := extrapolate(prev, realtime)
	after, narrow := extrapolate(last, realtime)
	early := before <= last.Time
	late := after >= prev.Time
	switch {
	case early && !late:
		return before, wide
	case late && !early:
		return after, narrow
	}
	mid := before/2 + after/2
	return mid, clampUint32(absDiff(before, after)/2 + 1 + int64(max(wide, narrow)))
}

// interpolate places a wall clock reading between two anchors without a step
// between them. The slope is within 500 ppm of 1, so what is left of the error
// is the brackets of the anchors.
func interpolate(from, to *format.Anchor, realtime int64) (int64, uint32) {
	span := to.Realtime - from.Realtime
	drift := (to.Time - from.Time) - span // ns the clocks drifted apart: small
	part := float64(realtime-from.Realtime) / float64(span)
	mono := realtime - offset(from) + int64(math.Round(part*float64(drift)))
	return mono, clampUint32(int64(max(from.Bracket, to.Bracket)) + absDiff(drift, 0)/4)
}

// offset is what the wall clock is ahead of the monotonic one at an anchor.
func offset(a *format.Anchor) int64 { return a.Realtime - a.Time }

// slack is how far two anchors' offsets may differ by slewing alone.
func slack(a, b *format.Anchor) int64 {
	dt := absDiff(a.Time, b.Time)
	return int64(a.Bracket) + int64(b.Bracket) + dt/1e6*maxSlew + dt%1e6*maxSlew/1e6 + 1000
}

func absDiff(a, b int64) int64 {
	if a > b {
		return a - b
	}
	return b - a
}

func clampUint32(n int64) uint32 {
	if n < 0 {
		return 0
	}
	return uint32(min(n, math.MaxUint32))
}
