package process_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

func TestRecordingsOverTime(t *testing.T) {
	for _, kernel := range []string{"deb11-5.10", "deb12-6.1"} {
		t.Run(kernel, func(t *testing.T) {
			a := process.New(process.Options{})
			t1 := openImage(t, recording(t, kernel+".t1.elf"), 1)
			t2 := openImage(t, recording(t, kernel+".t2.elf"), 2).After(t1)
			t3 := openImage(t, recording(t, kernel+".t3.elf"), 3).After(t2)
			require.NoError(t, a.Feed(t1))
			require.NoError(t, a.Feed(t2))
			require.NoError(t, a.Feed(t3))
			s := a.Summary()
			require.Len(t, s.Intervals, 2)
			// 50 short processes and two cp, of which no snapshot shows one.
			require.EqualValues(t, 52, *s.Intervals[0].Unseen)
			require.EqualValues(t, 0, *s.Intervals[1].Unseen)
			t.Logf("%+v", s)
			for _, f := range a.Findings() {
				t.Logf("%+v", f)
			}
			require.Empty(t, a.Findings(), "clean images")
			for _, p := range a.Processes() {
				if p.Grade != process.Seen || p.Changes != nil {
					t.Logf("%d %s %s exit #%d %v %+v", p.PID, p.Comm, p.Grade, p.ExitSnapshot, p.Views, p.Changes)
				}
			}
			for i, name := range []string{"t1", "t2", "t3"} {
				w := loadTruth(t, recording(t, kernel+"."+name+".truth.json"))
				requireEqual(t, w, a.At(i+1))
				requireSockets(t, w, a.At(i+1))
			}
		})
	}
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
