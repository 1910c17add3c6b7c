package process_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// requireHost compares modules, mounts and version with what /proc said.
func requireHost(t *testing.T, want *truth, h process.Host) {
	require.Equal(t, strings.TrimSpace(want.Global["/proc/version"]), h.Kernel)
	var mods []string
	for _, m := range h.Modules {
		mods = append(mods, fmt.Sprintf("%s %d %d - %s%s %#x", m.Name, m.Size, m.Refs, strings.ToUpper(m.State[:1]), m.State[1:], uint64(m.Base)))
		require.Equal(t, []process.View{process.ModuleList, process.ModuleKset, process.ModuleTree}, m.Views)
	}
	require.Equal(t, strings.TrimSpace(want.Global["/proc/modules"]), strings.Join(mods, "\n"))
	paths := map[string]string{}
	for _, m := range h.Mounts {
		paths[m.Path] = m.FileSystem
	}
	for path, fs := range map[string]string{"/": "rootfs", "/proc": "proc", "/sys": "sysfs", "/data": "tmpfs", "/tmp": "tmpfs"} {
		require.Equal(t, fs, paths[path], path)
	}
	require.NotEmpty(t, h.Log)
	require.Contains(t, h.Log[0].Text, "Linux version ")
	require.Greater(t, len(h.Log), 100)
	for i := range h.Log[1:] {
		require.Equal(t, h.Log[i].Seq+1, h.Log[i+1].Seq)
		require.NotEmpty(t, h.Log[i].Text)
	}
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
