package linux_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux"
	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/internal/linux/objects"
	"github.com/xentape/xentape/corpus/need"
)

// data returns a file of the large recordings, which live outside the
// repository; the same chain runs on testdata always.
func data(t testing.TB, name string) *os.File {
	f, err := os.Open(need.Recording(t, "memory", name))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpenRecordings(t *testing.T) {
	for _, name := range []string{
		"deb11-5.10.t1.elf", "deb11-5.10.t1.hvm.xencore", "deb12-6.1.t1.elf", "deb12-6.1.t1.hvm.xencore",
		"deb12-6.1.t1.hvm-inv.xencore", "deb12-6.1.t1.pv-synthetic.xencore",
	} {
		t.Run(name, func(t *testing.T) {
			m, err := imagetest.Open(data(t, name), name, 1)
			require.NoError(t, err)
			k, err := linux.Open(m, linux.Options{})
			require.NoError(t, err)
			for _, s := range k.Steps {
				t.Logf("%s: %s", s.Name, s.From)
			}
			require.NotEmpty(t, k.Info.BuildID())
			require.Equal(t, k.Info.BuildID(), linux.NotesBuildID(k))
			v := objects.NewView(k)
			n := 0
			require.NoError(t, v.Processes(func(addr uint64) {
				task, err := v.Task(addr)
				require.NoError(t, err)
				require.True(t, task.Plausible(), "%+v", task)
				n++
			}))
			t.Logf("%d processes", n)
			require.Greater(t, n, 100)
		})
	}
}
