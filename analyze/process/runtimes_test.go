package process_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// Each process of a container is said to be of it, and no other is; how the
// runtimes were asked to name them is known.
func TestContainerRuntimes(t *testing.T) {
	const podman = "06200bfda04e9069027a1cca7dbe2411c586ff4b0525201bfa2439677e6f290f"
	want := map[string]string{
		"100001": podman, "100002": podman, "7000": podman, // podman run
		"100003": "box-1", "100004": "box-1", // systemd-nspawn -M box-1
		"100005": "plain1", // crun run plain1
	}
	images, _ := fixture(t, "deb12-containers")
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(images[0]))
	n := 0
	for _, p := range a.At(1) {
		last := ""
		if len(p.Args) > 0 {
			last = p.Args[len(p.Args)-1]
		}
		require.Equal(t, want[last], p.Container, "%d %q", p.PID, p.Args)
		if p.Container != "" {
			n++
			require.Len(t, p.NSPID, 2)
		}
	}
	require.Equal(t, len(want), n)
}
