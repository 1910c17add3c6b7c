package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUsageOfAnotherProcessIsWhatItSaysItself(t *testing.T) {
	for until := time.Now().Add(50 * time.Millisecond); time.Now().Before(until); {
		_ = make([]byte, 1<<10) // some CPU time, of which there are ticks
	}
	before, _ := usage()
	cpu, resident := usageOf(os.Getpid())
	after, own := usage()
	require.GreaterOrEqual(t, cpu+duration(2*clockTick), before)
	require.LessOrEqual(t, cpu, after+duration(2*clockTick))
	require.InDelta(t, float64(own), float64(resident), float64(own))
	cpu, resident = usageOf(0)
	require.Zero(t, cpu)
	require.Zero(t, resident)
}
