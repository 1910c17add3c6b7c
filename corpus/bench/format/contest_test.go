package format

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// contestant is one way to do a piece of work.
type contestant struct {
	name  string
	cores int
	run   func()
}

// effort is what a piece of work took. idle is the part of the cores that Go had no
// goroutine to run on: what is missing besides is the machine's.
type effort struct {
	cpu, wall time.Duration
	idle      float64
}

// rounds is how often each contestant runs.
const rounds = 4

// contest lets each do its work in turn, several rounds long, so that what else
// the machine does meets all of them alike, and keeps of each the round that took
// least: whatever disturbs a measurement only adds to it.
func contest(cs []contestant) map[string]effort {
	best := map[string]effort{}
	for range rounds {
		for _, c := range cs {
			old := runtime.GOMAXPROCS(c.cores)
			runtime.GC()
			idle, cpu, start := idleTime(), cpuTime(), time.Now()
			c.run()
			e := effort{cpu: cpuTime() - cpu, wall: time.Since(start)}
			runtime.GC() // only then is the idle time brought up to date
			e.idle = (idleTime() - idle) / e.wall.Seconds() / float64(c.cores)
			runtime.GOMAXPROCS(old)
			if b, ok := best[c.name]; ok {
				e = effort{min(e.cpu, b.cpu), min(e.wall, b.wall), min(e.idle, b.idle)}
			}
			best[c.name] = e
		}
	}
	return best
}

// board prints the outcome: size bytes of guest memory were worked on.
func board(b *testing.B, size int64, cs []contestant, best map[string]effort) {
	var s strings.Builder
	fmt.Fprintf(&s, "%.0f MB of guest memory that is not zero; best of %d rounds, run in turn\n", float64(size)/1e6, rounds)
	for _, c := range cs {
		e := best[c.name]
		fmt.Fprintf(&s, "  %-29s %d core  %8.0f MB/cpu-s  %8.0f MB/s  (%.3f cpu-s, %.3f s, %.1f %% idle)\n",
			c.name, c.cores, speed(size, e.cpu), speed(size, e.wall), e.cpu.Seconds(), e.wall.Seconds(), 100*e.idle)
	}
	b.Log(s.String())
}

func speed(size int64, d time.Duration) float64 { return float64(size) / 1e6 / d.Seconds() }

// compare lets two do the same in turn and returns the median, over many rounds,
// of what the first takes more CPU than the second, as a share.
func compare(more, less func()) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var shares []float64
	for range 3 * rounds {
		var took [2]time.Duration
		for i, run := range []func(){more, less} {
			runtime.GC()
			cpu := cpuTime()
			run()
			took[i] = cpuTime() - cpu
		}
		shares = append(shares, took[0].Seconds()/took[1].Seconds()-1)
	}
	slices.Sort(shares)
	if len(shares) == 0 {
		return math.NaN()
	}
	return shares[len(shares)/2]
}
