package replay

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/xentape/xentape/format"
)

// Clock converts between the tape's time (ns of the recording host's
// CLOCK_MONOTONIC) and wall-clock time, by the anchors on the tape.
type Clock struct {
	anchors []format.Anchor // ascending by time
	start   int64           // tape time of the first record
}

// NewClock makes a clock of a tape's anchors and the time of its first record.
func NewClock(anchors []format.Anchor, start int64) *Clock {
	as := append([]format.Anchor(nil), anchors...)
	sort.SliceStable(as, func(i, j int) bool { return as[i].Time < as[j].Time })
	return &Clock{anchors: as, start: start}
}

// known: an imported recording may have an anchor that knows no wall clock.
func (c *Clock) known() bool { return len(c.anchors) > 0 && c.anchors[0].Realtime != 0 }

// Start is the tape time of the first record.
func (c *Clock) Start() int64 { return c.start }

// WallOffset is what to add to tape times near the start to get wall-clock time;
// 0 when the tape has no anchor.
func (c *Clock) WallOffset() int64 {
	ns, ok := c.Realtime(c.start)
	if !ok {
		return 0
	}
	return ns - c.start
}

// Realtime returns the wall-clock time, ns since 1970 UTC, of tape time t. ok is
// false when the tape has no anchor.
//
// Between two anchors it interpolates, unless the wall clock was set in between:
// then the anchor before t holds, as the clock ran on from it.
func (c *Clock) Realtime(t int64) (ns int64, ok bool) {
	if !c.known() {
		return 0, false
	}
	i := sort.Search(len(c.anchors), func(i int) bool { return c.anchors[i].Time > t })
	if i == 0 {
		a := c.anchors[0]
		return a.Realtime - (a.Time - t), true
	}
	a := c.anchors[i-1]
	d := t - a.Time
	if i == len(c.anchors) || c.anchors[i].Stepped || c.anchors[i].Time == a.Time {
		return a.Realtime + d, true
	}
	b := c.anchors[i]
	drift := (b.Realtime - a.Realtime) - (b.Time - a.Time)
	return a.Realtime + d + int64(float64(drift)*float64(d)/float64(b.Time-a.Time)), true
}

// Tape is the inverse of Realtime: the tape time of wall-clock time ns. Where
// the wall clock was set back and a time came twice, the first is meant.
func (c *Clock) Tape(ns int64) (t int64, ok bool) {
	if !c.known() {
		return 0, false
	}
	best := c.anchors[0]
	for i, a := range c.anchors {
		if a.Realtime > ns {
			break
		}
		if i+1 < len(c.anchors) && c.anchors[i+1].Stepped && ns-a.Realtime > c.anchors[i+1].Time-a.Time {
			continue
		}
		best = a
	}
	t = best.Time + ns - best.Realtime
	// One correction step takes the interpolation between anchors into account.
	if r, ok := c.Realtime(t); ok && abs(ns-r) < int64(time.Second) {
		t += ns - r
	}
	return t, true
}

// Format writes tape time t as RFC 3339 in UTC with nanoseconds, or as seconds
// since the start of the tape when it has no anchor.
func (c *Clock) Format(t int64) string {
	if ns, ok := c.Realtime(t); ok {
		return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
	}
	return c.Offset(t)
}

// Offset writes tape time t as seconds since the tape began: "+12.500000000s".
func (c *Clock) Offset(t int64) string {
	d := t - c.start
	sign := "+"
	if d < 0 {
		sign, d = "-", -d
	}
	return fmt.Sprintf("%s%d.%09ds", sign, d/1e9, d%1e9)
}

// Moment is a point in time as a user names it.
type Moment struct {
	Time     int64 // tape time; math.MaxInt64 for the end of the tape
	Snapshot int   // ordinal of the snapshot when the user named one, else 0
}

// End is the moment after the last record.
var End = Moment{Time: math.MaxInt64}

// ParseMoment reads an RFC 3339 time, an offset from the start of the tape
// ("+12.5s", "+3m"), or a snapshot ("#2"). snapshotTime gives the tape time of
// snapshot n and whether there is one.
func (c *Clock) ParseMoment(s string, snapshotTime func(n int) (int64, bool)) (Moment, error) {
	switch {
	case strings.HasPrefix(s, "#"):
		n, err := strconv.Atoi(s[1:])
		if err != nil {
			return Moment{}, fmt.Errorf("time %q: a snapshot is named as #1, #2, …", s)
		}
		t, ok := snapshotTime(n)
		if !ok {
			return Moment{}, fmt.Errorf("time %q: the tape has no such snapshot", s)
		}
		return Moment{Time: t, Snapshot: n}, nil
	case strings.HasPrefix(s, "+"):
		d, err := time.ParseDuration(s[1:])
		if err != nil {
			return Moment{}, fmt.Errorf("time %q: an offset from the start of the tape is written as +12.5s", s)
		}
		return Moment{Time: c.start + int64(d)}, nil
	}
	w, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return Moment{}, fmt.Errorf("time %q: want RFC 3339 (2026-01-02T15:04:05Z), an offset (+12.5s), a snapshot (#2) or a mark (@TEXT)", s)
	}
	t, ok := c.Tape(w.UnixNano())
	if !ok {
		return Moment{}, fmt.Errorf("time %q: the tape has no clock anchor, so wall-clock times cannot be placed on it; use an offset such as +12.5s", s)
	}
	return Moment{Time: t}, nil
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
