package capture_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
)

// wall is a host whose wall clock drifts and is set.
type wall struct {
	mono   int64
	offset int64
}

func (w *wall) read(id int32) int64 {
	w.mono += 100 // reading takes time
	switch id {
	case unix.CLOCK_MONOTONIC:
		return w.mono
	case unix.CLOCK_REALTIME:
		return w.mono + w.offset
	}
	return w.mono + 7
}

// requireCovers checks that a conversion is right within its own uncertainty.
func requireCovers(t *testing.T, c *capture.Clock, mono, offset int64) uint32 {
	t.Helper()
	got, unc := c.Monotonic(mono + offset)
	require.LessOrEqual(t, math.Abs(float64(got-mono)), float64(unc), "monotonic %d", mono)
	return unc
}

func TestMonotonicIsWithinItsUncertainty(t *testing.T) {
	w := &wall{mono: 1e9, offset: 1.7e18}
	c := capture.NewClockFrom(w.read, [16]byte{1})
	_, unc := c.Monotonic(w.mono + w.offset)
	require.Equal(t, uint32(math.MaxUint32), unc, "without an anchor nothing is known")
	rng := rand.New(rand.NewPCG(1, 2))
	c.Anchor()
	for range 200 {
		from, at := w.mono, w.offset
		slew := rng.Int64N(1_000_001) - 500_000 // ns in a second: 500 ppm
		w.mono += 1e9
		w.offset += slew
		require.False(t, c.Anchor().Stepped)
		for range 20 {
			d := rng.Int64N(1e9)
			require.Less(t, requireCovers(t, c, from+d, at+slew*d/1e9), uint32(1e6))
		}
		requireCovers(t, c, w.mono+5e8, w.offset) // a stamp younger than the last anchor
	}
}

func TestStepOfTheWallClockIsCovered(t *testing.T) {
	for _, step := range []int64{3e9, -3e9, 40e6} {
		w := &wall{mono: 1e9, offset: 1.7e18}
		c := capture.NewClockFrom(w.read, [16]byte{1})
		c.Anchor()
		before, old := w.mono+3e8, w.offset
		w.mono += 1e9
		w.offset += step
		require.True(t, c.Anchor().Stepped)
		requireCovers(t, c, before, old)
		requireCovers(t, c, w.mono-1e8, w.offset)
		w.mono += 1e9
		require.False(t, c.Anchor().Stepped)
	}
}

func TestClockOfThisHost(t *testing.T) {
	c, err := capture.NewClock()
	require.NoError(t, err)
	require.NotZero(t, c.BootID())
	a := c.Anchor()
	require.Positive(t, a.Realtime)
	require.Equal(t, c.BootID(), a.BootID)
	require.LessOrEqual(t, a.Time, c.Now())
}
