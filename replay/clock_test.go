package replay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

func anchor(mono, real int64, stepped bool) format.Anchor {
	return format.Anchor{Stamp: format.Stamp{Time: mono}, Realtime: real, Stepped: stepped}
}

func TestClockInterpolatesDrift(t *testing.T) {
	c := NewClock([]format.Anchor{anchor(2000e9, 5000e9+1e6, false), anchor(1000e9, 4000e9, false)}, 990e9)
	r, ok := c.Realtime(1500e9)
	require.True(t, ok)
	require.Equal(t, int64(4500e9+5e5), r, "half of the drift at half of the way")
	back, ok := c.Tape(r)
	require.True(t, ok)
	require.InDelta(t, 1500e9, back, 2)
}

func TestClockStep(t *testing.T) {
	c := NewClock([]format.Anchor{anchor(0, 100e9, false), anchor(10e9, 50e9, true)}, 0)
	r, _ := c.Realtime(9e9)
	require.Equal(t, int64(109e9), r, "before the step the old clock ran on")
	r, _ = c.Realtime(11e9)
	require.Equal(t, int64(51e9), r)
}

func TestParseMoment(t *testing.T) {
	c := NewClock([]format.Anchor{anchor(7e9, 1_700_000_000e9, false)}, 7e9)
	snap := func(n int) (int64, bool) { return 42, n == 2 }
	for in, want := range map[string]Moment{
		"+12.5s":                    {Time: 19_500_000_000},
		"#2":                        {Time: 42, Snapshot: 2},
		"2023-11-14T22:13:21Z":      {Time: 8e9},
		"2023-11-14T23:13:20+01:00": {Time: 7e9},
	} {
		got, err := c.ParseMoment(in, snap)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "#3", "#x", "+x", "yesterday"} {
		_, err := c.ParseMoment(in, snap)
		require.Error(t, err, in)
	}
	_, err := NewClock(nil, 0).ParseMoment("2023-11-14T22:13:21Z", snap)
	require.ErrorContains(t, err, "no clock anchor")
	require.Equal(t, "+1.500000000s", NewClock(nil, time.Second.Nanoseconds()).Format(2.5e9))
}
