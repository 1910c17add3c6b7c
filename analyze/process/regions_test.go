package process_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

func withoutData(name string) string {
	if strings.HasPrefix(name, "[vvar") {
		return ""
	}
	return name
}

// requireOwnRegions: the regions that the kernel gave a process and the names it made
// up for them are those of /proc/PID/maps, and none of them is taken for code that
// has no file.
func requireOwnRegions(t *testing.T, want *truth, got []process.Process) {
	own := map[int][]string{}
	for _, p := range got {
		if p.HeldBy != 0 { // /proc shows an empty process
			continue
		}
		for _, m := range p.Maps {
			if strings.HasPrefix(m.Path, "[v") {
				own[p.PID] = append(own[p.PID], fmt.Sprintf("%08x-%08x %s %s", uint64(m.Start), uint64(m.End), m.Perms, m.Path))
				require.False(t, m.Exec, m.Path)
			}
		}
	}
	seen := 0
	for _, w := range want.Processes {
		var lines []string
		for l := range strings.Lines(w.Maps) {
			if f := strings.Fields(l); len(f) == 6 && strings.HasPrefix(f[5], "[v") && f[5] != "[vsyscall]" {
				lines = append(lines, strings.Join([]string{f[0], f[1], f[5]}, " "))
			}
		}
		seen += len(lines)
		require.Equal(t, lines, own[w.PID], "pid %d", w.PID)
	}
	require.NotZero(t, seen)
}
