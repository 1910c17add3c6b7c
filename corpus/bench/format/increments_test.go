package format

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	tape "github.com/xentape/xentape/format"
)

// BenchmarkIncrements stores a series as a tape and in a restic repository and
// reports what the images after the first cost in each, and their ratio.
func BenchmarkIncrements(b *testing.B) {
	for _, g := range guests() {
		b.Run(g.name, func(b *testing.B) { increments(b, g.images(b)) })
	}
}

func increments(b *testing.B, imgs [][]byte) {
	b.Logf("%d images, %d of them later", len(imgs), len(imgs)-1)
	for b.Loop() {
		first, later, cpu := tapeCost(b, imgs)
		rfirst, rlater := resticCost(b, imgs)
		const mib = 1 << 20
		b.ReportMetric(float64(first)/mib, "MiB-first")
		b.ReportMetric(float64(later)/mib, "MiB-later")
		b.ReportMetric(cpu, "cpu-s")
		if rlater > 0 {
			b.ReportMetric(float64(rfirst)/mib, "MiB-restic-first")
			b.ReportMetric(float64(rlater)/mib, "MiB-restic-later")
			b.ReportMetric(float64(later)/float64(rlater), "later/restic")
		}
	}
}

func tapeCost(b *testing.B, imgs [][]byte) (first, later int64, cpu float64) {
	var n counter
	start := cpuTime()
	w, err := tape.NewWriter(&n, tape.WriterOptions{})
	require.NoError(b, err)
	mem, err := w.DefineStream(tape.StreamDef{Kind: tape.StreamMemory, Name: "memory"})
	require.NoError(b, err)
	var parent uint32
	for i, img := range imgs {
		parent = writeSnapshot(b, w, mem, parent, img)
		if i == 0 {
			require.NoError(b, w.Flush())
			first = int64(n)
		}
	}
	require.NoError(b, w.Seal())
	return first, int64(n) - first, (cpuTime() - start).Seconds()
}

// resticCost is the growth of a repository of restic's default settings; 0 when
// restic is not installed.
func resticCost(b *testing.B, imgs [][]byte) (first, later int64) {
	restic, ok := need.Peer(b, "restic", "restic")
	if !ok {
		return 0, 0
	}
	dir := b.TempDir()
	repo, file := filepath.Join(dir, "repo"), filepath.Join(dir, "memory")
	run := func(args ...string) {
		cmd := exec.Command(restic, append([]string{"-q", "--repo", repo}, args...)...)
		cmd.Env = append(os.Environ(), "RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR="+filepath.Join(dir, "cache"))
		out, err := cmd.CombinedOutput()
		require.NoError(b, err, "%s", out)
	}
	run("init")
	for i, img := range imgs {
		require.NoError(b, os.WriteFile(file, img, 0o600))
		run("backup", file)
		if i == 0 {
			first = treeSize(b, repo)
		}
	}
	return first, treeSize(b, repo) - first
}

func treeSize(b testing.TB, dir string) (n int64) {
	require.NoError(b, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}
