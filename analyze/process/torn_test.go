package process_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
)

// twoMoments runs a test on each two moments after another of a boot, of two kernels.
func twoMoments(t *testing.T, f func(t *testing.T, first, second *imagetest.Sparse, o process.Options)) {
	for _, name := range []string{"deb12-6.1", older} {
		images, _ := fixture(t, name)
		for i, second := range images[1:] {
			t.Run(fmt.Sprint(name, " ", i+1), func(t *testing.T) { f(t, images[i], second, options(t, name)) })
		}
	}
}

// Pages of two moments mixed are no ground for claims.
func TestSmearIsNotHiding(t *testing.T) {
	twoMoments(t, func(t *testing.T, first, second *imagetest.Sparse, o process.Options) {
		for name, later := range map[string]func(frame uint64) bool{
			"split":  func(f uint64) bool { return f >= 40<<20>>12 },
			"random": func(f uint64) bool { return f*0x9e3779b97f4a7c15>>63 != 0 },
		} {
			s := first.Clone()
			for f, p := range second.Frames {
				if later(f) {
					q := *p
					s.Frames[f] = &q
				}
			}
			s.Header.Info.Snapshot = 1
			s.Header.Info.Conditions.Paused, s.Header.Info.Conditions.Fuzzy = false, true
			a := process.New(o)
			_ = a.Feed(s) // what is torn is said, or not: both are right
			require.Greater(t, len(a.At(1)), 50, name)
			for _, f := range a.Findings() {
				require.NotEqual(t, process.Hidden, f.Grade, f.Summary)
			}
			for _, p := range a.At(1) {
				require.NotEqual(t, process.Hidden, p.Grade)
			}
		}
	})
}

// What is missing from an image is no ground for claims either: a frame less hides
// list members and threads, and nothing is found for that. Neither has a process
// ended whose task structure cannot be read.
func TestMissingFramesAreNoFinding(t *testing.T) {
	twoMoments(t, func(t *testing.T, first, second *imagetest.Sparse, o process.Options) {
		whole := process.New(o)
		require.NoError(t, whole.Feed(first.Clone()))
		h := newHider(t, first, o)
		tasks := map[uint64]bool{}
		for _, p := range whole.At(first.Info().Snapshot) {
			tasks[h.at(uint64(p.TaskAddress))>>12] = true
			for _, th := range p.ThreadList {
				tasks[h.at(uint64(th.TaskAddress))>>12] = true
				tasks[h.at(h.member(th.TaskAddress, "task_struct", "thread_node"))>>12] = true
			}
		}
		require.Greater(t, len(tasks), 40)
		ended := gone(t, first, second, o)
		for i, frame := range slices.Sorted(maps.Keys(tasks)) {
			if i%16 != 0 {
				continue // each costs a whole analysis
			}
			c := first.Clone()
			delete(c.Frames, frame)
			a := process.New(o)
			_ = a.Feed(c) // says what could not be read
			for _, f := range a.Findings() {
				require.Fail(t, "found for a frame that is missing", "%#x: %s", frame, f.Summary)
			}
			after := second.Clone()
			delete(after.Frames, frame)
			b := process.New(o)
			require.NoError(t, b.Feed(first.Clone()))
			_ = b.Feed(after)
			known := map[process.Address]bool{}
			for _, p := range b.Processes() {
				if p.ExitSnapshot == second.Info().Snapshot {
					known[p.TaskAddress] = true
				}
			}
			for _, p := range ended {
				delete(known, p)
			}
			require.Empty(t, known, "%#x: ended without a sign of it", frame)
		}
	})
}

// gone lists the processes that ended between two moments.
func gone(t *testing.T, first, second *imagetest.Sparse, o process.Options) (all []process.Address) {
	a := process.New(o)
	require.NoError(t, a.Feed(first.Clone()))
	require.NoError(t, a.Feed(second.Clone()))
	for _, p := range a.Processes() {
		if p.ExitSnapshot == second.Info().Snapshot {
			all = append(all, p.TaskAddress)
		}
	}
	require.NotEmpty(t, all)
	return all
}
