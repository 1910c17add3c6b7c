//go:build linux

package bpf

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
)

// The object must be that of the source beside it.
func TestObjectIsOfItsSource(t *testing.T) {
	sums, err := os.ReadFile("kernel/blocks.sha256")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(sums)), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		f := strings.Fields(line)
		b, err := os.ReadFile(filepath.Join("kernel", f[1]))
		require.NoError(t, err)
		sum := sha256.Sum256(b)
		require.Equal(t, f[0], hex.EncodeToString(sum[:]), "%s changed: run go generate", f[1])
	}
}

// Compiling again, with the compiler it was made with, must give the same bytes.
func TestRegenerate(t *testing.T) {
	if _, err := exec.LookPath("clang-14"); err != nil {
		release, rerr := os.ReadFile("/etc/os-release")
		require.NoError(t, rerr)
		if !strings.Contains(string(release), `VERSION_ID="12"`) {
			need.Able(t, false, "compile with clang-14, which is Debian 12's", err)
		}
	}
	need.Tool(t, "clang-14 llvm-14 libbpf-dev", "clang-14")
	dir := t.TempDir()
	cmd := exec.Command("sh", "generate.sh", dir)
	cmd.Dir = "kernel"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	again, err := os.ReadFile(filepath.Join(dir, "blocks.bpf.o"))
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(object), sha256.Sum256(again))
}

// What the loader sets must be in the object.
func TestObjectHasWhatTheLoaderSets(t *testing.T) {
	for _, end := range []string{EndBlkback, EndBio, EndAny} {
		spec, err := ebpf.LoadCollectionSpecFromReader(strings.NewReader(string(object)))
		require.NoError(t, err)
		require.NoError(t, configure(spec, Options{Major: 7, Minor: 1, Size: 3 << 40, Ring: 5 << 20, End: end}))
		require.Len(t, spec.Programs, 2)
		require.Equal(t, uint32(8<<20), spec.Maps["events"].MaxEntries)
		require.Equal(t, uint32(3<<20/64), spec.Maps["touched"].MaxEntries)
		require.Equal(t, "GPL", spec.Programs["queue"].License)
	}
}
