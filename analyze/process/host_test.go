package process_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// requireHost compares modules, mounts and version with what /proc said.
func requireHost(t *testing.T, want *truth, h process.Host) {
	require.Equal(t, strings.TrimSpace(want.Global["/proc/version"]), h.Kernel)
	var mods []string
	for _, m := range h.Modules {
		mods = append(mods, fmt.Sprintf("%s %d %d %s %s%s %#x", m.Name, m.Size, m.Refs, users(m.UsedBy), strings.ToUpper(m.State[:1]), m.State[1:], uint64(m.Base)))
		require.Equal(t, []process.View{process.ModuleList, process.ModuleKset, process.ModuleTree, process.ModuleScan}, m.Views)
	}
	require.Equal(t, moduleLines(want.Global["/proc/modules"]), mods)
	paths := map[string]string{}
	for _, m := range h.Mounts {
		if inode("mnt", m.NS) == text(want.Processes[0].NS.Mnt) { // those of init
			paths[m.Path] = m.FileSystem
		}
	}
	if want.Processes[0].MountInfo == nil { // else it says
		for path, fs := range map[string]string{"/": "rootfs", "/proc": "proc", "/sys": "sysfs", "/data": "tmpfs", "/tmp": "tmpfs"} {
			require.Equal(t, fs, paths[path], path)
		}
	}
	requireMounts(t, want, h)
	// "@@BEGIN phase realtime boottime": both clocks, read one after the other.
	f := strings.Fields(want.Meta[0])
	boot := seconds(t, f[2]) - seconds(t, f[3])
	booted, err := time.Parse(time.RFC3339Nano, h.Booted)
	require.NoError(t, err)
	require.InDelta(t, boot, float64(booted.UnixNano())/1e9, 0.01)
	now, err := time.Parse(time.RFC3339Nano, h.Clock)
	require.NoError(t, err)
	require.InDelta(t, seconds(t, f[2]), float64(now.UnixNano())/1e9, 600) // an emulated machine takes its time to tell
	require.NotEmpty(t, h.Log)
	require.Contains(t, h.Log[0].Text, "Linux version ")
	require.Greater(t, len(h.Log), 100)
	for i := range h.Log[1:] {
		require.Equal(t, h.Log[i].Seq+1, h.Log[i+1].Seq)
		require.NotEmpty(t, h.Log[i].Text)
	}
}

func users(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",") + ","
}

// moduleLines is /proc/modules by name, without what a module taints.
func moduleLines(text string) []string {
	var out []string
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		if f := strings.Fields(l); len(f) > 5 {
			out = append(out, strings.Join(f[:6], " "))
		}
	}
	slices.Sort(out)
	return out
}

func seconds(t *testing.T, s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return f
}

// The intruder's program was unlinked; it is still whole in the page cache, and
// a copy of the workload's own.
func TestDeletedProgramFromPageCache(t *testing.T) {
	a := process.New(process.Options{})
	require.NoError(t, a.Feed(openImage(t, recording(t, "deb12-6.1.t2.elf"), 1)))
	read := func(f *process.FileID) []byte {
		c, err := a.PageCache(f.Major, f.Minor, f.Inode)
		require.NoError(t, err)
		require.Empty(t, c.Missing())
		b := make([]byte, c.Size)
		require.NoError(t, c.Pages(func(off uint64, p []byte) error {
			copy(b[off:], p)
			return nil
		}))
		return b
	}
	var dropper, init []byte
	for _, p := range a.At(1) {
		switch p.Comm {
		case "dropper":
			require.True(t, p.ExeFile.Deleted)
			dropper = read(p.ExeFile)
		case "init":
			init = read(p.ExeFile)
		}
	}
	require.True(t, bytes.HasPrefix(dropper, []byte("\x7fELF")))
	require.Equal(t, init, dropper)
}
