package process_test

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// series are the moments of each boot that was recorded more than once, in order.
func series(t testing.TB) map[string][]string {
	all := map[string][]string{}
	for _, image := range append(fresh(t),
		recording(t, "deb11-5.10.t1.elf"), recording(t, "deb11-5.10.t2.elf"), recording(t, "deb11-5.10.t3.elf"),
		recording(t, "deb12-6.1.t1.elf"), recording(t, "deb12-6.1.t2.elf"), recording(t, "deb12-6.1.t3.elf"),
	) {
		name, _, _ := strings.Cut(filepath.Base(image), ".t")
		all[name] = append(all[name], image)
	}
	for name, images := range all {
		if slices.Sort(images); len(images) < 2 {
			delete(all, name)
		}
	}
	return all
}

func TestRecordingsOverTime(t *testing.T) {
	for name, images := range series(t) {
		t.Run(name, func(t *testing.T) {
			a := process.New(process.Options{Symbols: symbolsFor(t, images[0])})
			prev := openImage(t, images[0], 1)
			require.NoError(t, a.Feed(prev))
			truths := []*truth{loadTruth(t, truthOf(images[0]))}
			for i, image := range images[1:] {
				m := openImage(t, image, i+2).After(prev)
				require.NoError(t, a.Feed(m))
				truths, prev = append(truths, loadTruth(t, truthOf(image))), m
			}
			for i, w := range truths {
				requireEqual(t, w, a.At(i+1))
				requireSockets(t, w, a.At(i+1))
			}
			require.Empty(t, a.Findings(), "clean images")
			s := a.Summary()
			require.Len(t, s.Intervals, len(images)-1)
			for i, in := range s.Intervals {
				// In the first, 50 short processes and two cp; in the second, none.
				require.EqualValues(t, []int64{52, 0}[i], *in.Unseen)
				requireCounted(t, truths[i], truths[i+1], in)
			}
		})
	}
}

// requireCounted compares births and what nobody saw with the guest's own count of
// forks, where that was kept: in it threads count too.
func requireCounted(t *testing.T, before, after *truth, in process.Interval) {
	from, ok := before.forks(t)
	if !ok {
		return
	}
	to, _ := after.forks(t)
	had := map[[2]uint64]bool{}
	for _, th := range before.threads() {
		had[th] = true
	}
	born := slices.DeleteFunc(after.threads(), func(th [2]uint64) bool { return had[th] })
	require.EqualValues(t, to-from-uint64(len(born)), *in.Unseen)
}

// forks is /proc/stat's count of tasks ever made, and those made after it was read
// that are in the list.
func (w *truth) forks(t *testing.T) (n uint64, ok bool) {
	for line := range strings.Lines(w.Global["/proc/stat"]) {
		if text, found := strings.CutPrefix(line, "processes "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			require.NoError(t, err)
			read := seconds(t, strings.Fields(w.Meta[0])[3]) // since boot
			for _, th := range w.threads() {
				if float64(th[1])/100 >= read {
					n++
				}
			}
			return n, true
		}
	}
	return 0, false
}

// threads are all tasks by number and start time, in order.
func (w *truth) threads() (all [][2]uint64) {
	for _, p := range w.Processes {
		for _, th := range p.ThreadList {
			all = append(all, [2]uint64{uint64(th.TID), th.Start})
		}
	}
	slices.SortFunc(all, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	return all
}

func TestBornAndGoneUnseen(t *testing.T) {
	images, _ := fixture(t, "deb12-6.1")
	a := process.New(process.Options{})
	for _, m := range images {
		require.NoError(t, a.Feed(m))
	}
	s := a.Summary()
	require.Equal(t, 3, s.Snapshots)
	require.Len(t, s.Intervals, 2)
	require.EqualValues(t, 52, *s.Intervals[0].Unseen)
	require.EqualValues(t, 0, *s.Intervals[1].Unseen)
	require.Equal(t, 10, s.Intervals[1].Deaths)
	require.Equal(t, 1, s.Boots)
	require.Empty(t, s.CouldNot)

	all := a.Processes()
	orphan := processNamed(t, all, "chain-07")
	require.Contains(t, orphan.Changes, process.Change{Snapshot: 2, Field: "ppid", From: "157", To: "1"})
	dropper := processNamed(t, all, "dropper")
	require.Equal(t, []int{2, 2, 3}, []int{dropper.FirstSnapshot, dropper.LastSnapshot, dropper.ExitSnapshot})
	flash := processNamed(t, all, "flash-00")
	require.Equal(t, process.Residue, flash.Grade)
	require.Equal(t, 302, flash.PID)
}

func TestUnlinkedProcess(t *testing.T) {
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(openImage(t, recording(t, "deb12-6.1.t2.dkom-list.elf"), 1)))
	f := a.Findings()
	require.Len(t, f, 1)
	t.Logf("%+v", f[0])
	require.Equal(t, "hidden-process", f[0].Kind)
	require.Equal(t, 362, f[0].PID)
	require.Equal(t, []process.View{process.TaskList}, f[0].Missing)
	requireEqual(t, loadTruth(t, recording(t, "deb12-6.1.t2.truth.json")), a.At(1))
}
