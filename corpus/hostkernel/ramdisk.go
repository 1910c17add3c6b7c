//go:build linux

package hostkernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/corpus/need"
)

// RAMDisk makes a zram device of size bytes, which takes bios like a device-mapper
// target does, and removes it at the end of the test.
func RAMDisk(t testing.TB, size int) (path string) {
	t.Helper()
	if _, err := os.Stat("/sys/class/zram-control"); err != nil && os.Geteuid() == 0 {
		_ = exec.Command("modprobe", "zram").Run() // where it cannot be, the next line says so
	}
	n, err := os.ReadFile("/sys/class/zram-control/hot_add")
	if err != nil {
		// Where the module cannot be loaded there is no zram; where it is, root has devices.
		able := os.Geteuid() == 0 && !errors.Is(err, os.ErrNotExist) && !readOnly("/sys")
		need.Able(t, able, "make a zram device, which this test records", err)
	}
	name := "zram" + strings.TrimSpace(string(n))
	t.Cleanup(func() {
		os.WriteFile("/sys/block/"+name+"/reset", []byte("1"), 0)
		os.WriteFile("/sys/class/zram-control/hot_remove", bytes.TrimSpace(n), 0)
	})
	require.NoError(t, os.WriteFile(filepath.Join("/sys/block", name, "disksize"), []byte(fmt.Sprint(size)), 0))
	path = "/dev/" + name
	require.Eventually(t, func() bool { _, err := os.Stat(path); return err == nil }, 5*time.Second, 10*time.Millisecond)
	return path
}

// readOnly says that a file system may not be written to, as /sys in most containers.
func readOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}
