package process_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/linux/imagetest"
	"github.com/xentape/xentape/analyze/process"
	"github.com/xentape/xentape/corpus/need"
)

// truth is what the guest's own /proc said, as the workload's driver wrote it
// just before the machine was stopped.
type truth struct {
	Processes []struct {
		PID     int      `json:"pid"`
		PPID    int      `json:"ppid"`
		Comm    string   `json:"comm"`
		Kernel  bool     `json:"kthread"`
		Start   uint64   `json:"starttime_ticks"`
		UID     []string `json:"uid"`
		GID     []string `json:"gid"`
		NSPID   []string `json:"nspid"`
		Threads int      `json:"nthreads"`
		Exe     *string  `json:"exe"`
		Cwd     *string  `json:"cwd"`
		Args    []string `json:"cmdline"`
		Env     []string `json:"environ"`
		NS      struct {
			PID, Net, Mnt, UTS, IPC, User, Cgroup, Time *string
		} `json:"ns"`
		FDs []struct {
			FD     int    `json:"fd"`
			Target string `json:"target"`
		} `json:"fds"`
		ThreadList []struct {
			TID   int    `json:"tid"`
			Comm  string `json:"comm"`
			State string `json:"state"`
			Start uint64 `json:"starttime_ticks"`
		} `json:"threads"`
		Maps string `json:"maps"`

		// Only recordings of the wider workload have these.
		State     string            `json:"state"`
		Root      *string           `json:"root"`
		RawArgs   *string           `json:"cmdline_raw"`
		Status    string            `json:"status"`    // /proc/PID/status
		Cgroup    string            `json:"cgroup"`    // /proc/PID/cgroup
		MountInfo *string           `json:"mountinfo"` // of pid 1 and of every other mount namespace
		FDInfo    map[string]string `json:"fdinfo"`
		NetFiles  map[string]string `json:"netfiles"` // /proc/PID/net, of every other network namespace
	} `json:"processes"`
	Global map[string]string `json:"global"`
	Meta   []string          `json:"meta"`
}

// recording is one of the large ones; the same comparison runs on testdata always.
func recording(t testing.TB, name string) string {
	return need.Recording(t, "memory", name)
}

func loadTruth(t testing.TB, path string) *truth {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var w truth
	require.NoError(t, json.Unmarshal(b, &w))
	require.NotEmpty(t, w.Processes)
	return &w
}

func openImage(t testing.TB, path string, snapshot int) *imagetest.Image {
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	m, err := imagetest.Open(f, filepath.Base(path), snapshot)
	require.NoError(t, err)
	return m
}

// tick is the unit of /proc/PID/stat's start time, in nanoseconds.
const tick = 10_000_000

// requireEqual compares every process and every field that /proc shows and
// that does not change by itself between the reading and the stop.
func requireEqual(t *testing.T, want *truth, got []process.Process) {
	byPID := map[int]process.Process{}
	for _, p := range got {
		require.NotContains(t, byPID, p.PID, "pid listed twice")
		byPID[p.PID] = p
	}
	for _, w := range want.Processes {
		p, ok := byPID[w.PID]
		require.True(t, ok, "pid %d (%s) is missing", w.PID, w.Comm)
		delete(byPID, w.PID)
		at := strconv.Itoa(w.PID) + " " + w.Comm
		require.Empty(t, p.Incomplete, at)
		require.Equal(t, w.PPID, p.PPID, at)
		require.Equal(t, w.Start, p.StartTime/tick, at)
		require.Equal(t, w.Threads, p.Threads, at)
		require.Equal(t, w.Kernel, p.KernelThread, at)
		if !w.Kernel { // /proc adds the work to the names of kernel workers
			require.Equal(t, w.Comm, p.Comm, at)
		}
		require.Equal(t, w.UID, decimal(p.Credentials.UID[:]), at)
		require.Equal(t, w.GID, decimal(p.Credentials.GID[:]), at)
		if p.HeldBy != 0 { // /proc shows an empty process, and the rest below its thread
			require.Nil(t, w.Exe, at)
			require.Equal(t, "Z", w.State, at)
			continue
		}
		require.Equal(t, text(w.Exe), p.Exe, at)
		require.Equal(t, text(w.Cwd), p.Cwd, at)
		if w.RawArgs != nil {
			require.Equal(t, strings.TrimSuffix(*w.RawArgs, "\x00"), written(strings.Join(p.Args, "\x00")), at)
		} else {
			require.Equal(t, w.Args, orEmpty(p.Args), at)
		}
		require.Equal(t, w.Env, orEmpty(p.Env), at)
		require.Equal(t, w.NSPID, decimal(p.NSPID), at)
		require.Equal(t, text(w.NS.PID), inode("pid", p.Namespaces.PID), at)
		require.Equal(t, text(w.NS.Net), inode("net", p.Namespaces.Net), at)
		require.Equal(t, text(w.NS.Mnt), inode("mnt", p.Namespaces.Mount), at)
		require.Equal(t, text(w.NS.UTS), inode("uts", p.Namespaces.UTS), at)
		var fds []string
		for _, f := range w.FDs {
			// The driver's own, open only while it wrote this.
			if w.Comm != "driver" || !strings.HasPrefix(f.Target, "/proc") {
				fds = append(fds, strconv.Itoa(f.FD)+" "+f.Target)
			}
		}
		var got []string
		for _, f := range p.Files {
			got = append(got, strconv.Itoa(f.FD)+" "+written(f.Path))
		}
		require.Equal(t, fds, got, at)
		require.Equal(t, mapLines(w.Maps), mapsOf(p), at)
		require.Len(t, p.ThreadList, len(w.ThreadList), at)
		for i, th := range w.ThreadList {
			require.Equal(t, th.TID, p.ThreadList[i].TID, at)
			if th.State != "" && !w.Kernel {
				require.Equal(t, th.Comm, p.ThreadList[i].Comm, at)
				require.Equal(t, th.Start, p.ThreadList[i].StartTime/tick, at)
			}
		}
	}
	require.Empty(t, byPID, "processes /proc does not have")
}

// written is a text as JSON carries it: bytes that are no UTF-8 replaced.
func written(s string) string {
	b, _ := json.Marshal(s)
	_ = json.Unmarshal(b, &s)
	return s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func inode(kind string, n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s:[%d]", kind, n)
}

// mapLines normalizes /proc/PID/maps: without padding, and without the names of the
// kernel's own data, which the reduced images do not hold (requireOwnRegions).
func mapLines(s string) []string {
	var out []string
	for _, l := range strings.Split(strings.TrimSpace(s), "\n") {
		f := strings.Fields(l)
		if len(f) < 5 || strings.Contains(l, "[vsyscall]") {
			continue
		}
		out = append(out, strings.TrimSpace(strings.Join(f[:5], " ")+" "+withoutData(strings.Join(f[5:], " "))))
	}
	return out
}

func mapsOf(p process.Process) []string {
	var out []string
	for _, m := range p.Maps {
		dev, ino := "00:00", uint64(0)
		if m.FileID != nil {
			dev, ino = fmt.Sprintf("%02x:%02x", m.Major, m.Minor), m.Inode
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%08x-%08x %s %08x %s %d %s", uint64(m.Start), uint64(m.End), m.Perms, m.Offset, dev, ino, withoutData(m.Path))))
	}
	return out
}

func decimal[T uint32 | int](n []T) []string {
	var s []string
	for _, x := range n {
		s = append(s, strconv.FormatUint(uint64(x), 10))
	}
	return s
}

// fresh are images of other kernels, made by the same driver; not all of them
// are handed around, so the test takes those there are.
func fresh(t testing.TB) []string {
	var all []string
	for _, folder := range []string{"memory-fresh", "memory-wide", "memory2"} {
		m, err := filepath.Glob(filepath.Join(recording(t, ".."), folder, "*.elf"))
		require.NoError(t, err)
		all = append(all, m...)
	}
	return all
}

// truthOf is what /proc said when an image was taken: a file NAME.TIME.truth.json for
// every form of NAME.TIME.
func truthOf(image string) string {
	name := filepath.Base(image)
	kernel, rest, _ := strings.Cut(name, ".t")
	at, _, _ := strings.Cut(rest, ".")
	return filepath.Join(filepath.Dir(image), kernel+".t"+at+".truth.json")
}

// symbolsFor is the symbol file that lies beside an image of a kernel without
// types of its own: NAME.btf for NAME.t1.elf and NAME-wide.t1.elf.
func symbolsFor(t testing.TB, image string) []byte {
	name, _, _ := strings.Cut(filepath.Base(image), ".t")
	b, err := os.ReadFile(filepath.Join(filepath.Dir(image), strings.TrimSuffix(name, "-wide")+".btf"))
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	return b
}

func TestRecordingsEqualProc(t *testing.T) {
	images := fresh(t)
	for _, image := range []string{
		"deb11-5.10.t1.elf", "deb11-5.10.t2.elf", "deb11-5.10.t3.elf", "deb11-5.10.t1.hvm.xencore",
		"deb12-6.1.t1.elf", "deb12-6.1.t2.elf", "deb12-6.1.t3.elf",
		"deb12-6.1.t1.hvm.xencore", "deb12-6.1.t1.hvm-inv.xencore", "deb12-6.1.t1.pv-synthetic.xencore",
	} {
		images = append(images, recording(t, image))
	}
	for _, image := range images {
		t.Run(filepath.Base(image), func(t *testing.T) {
			want := loadTruth(t, truthOf(image))
			a := process.New(process.Options{Symbols: symbolsFor(t, image)})
			require.NoError(t, a.Feed(openImage(t, image, 1)))
			require.Empty(t, a.Findings(), "a clean image")
			requireEqual(t, want, a.At(1))
			requireSockets(t, want, a.At(1))
			requireStatus(t, want, a.At(1))
			requireOwnRegions(t, want, a.At(1))
			h, ok := a.Host(1)
			require.True(t, ok)
			requireHost(t, want, h)
			for _, s := range a.Summary().Symbols {
				t.Logf("%s: %s", s.Name, s.From)
			}
		})
	}
}
