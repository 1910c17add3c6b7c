package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/corpus/synth"
)

const recorded = "../tapes/web-intrusion/tape.xtape"

// compiled is the program, built for a machine.
func compiled(t *testing.T, env ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "digest")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	b, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", b)
	return out
}

// says runs it.
func says(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	require.NoError(t, err, "%s", errs.Bytes())
	return string(b)
}

// made is a small tape with files, conversations and a gap.
func made(t *testing.T) string {
	t.Helper()
	s, err := synth.Load("../synth/testdata/dropper.yaml")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "made.xtape")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, s.Write(f))
	require.NoError(t, f.Close())
	return path
}

// TestSameAnswerEverywhere: the recorded tape gives the same bytes in several time
// zones and locales, with any number of workers and processors, and twice.
func TestSameAnswerEverywhere(t *testing.T) {
	program := compiled(t)
	want := says(t, nil, program, "-workers", "1", recorded)
	require.Len(t, strings.Split(strings.TrimSpace(want), "\n"), 5)
	for name, run := range map[string]struct {
		env  []string
		args []string
	}{
		"two workers":   {nil, []string{"-workers", "2"}},
		"eight workers": {nil, []string{"-workers", "8"}},
		"east":          {[]string{"TZ=Asia/Kathmandu", "LC_ALL=ar_EG.UTF-8"}, nil},
		"west":          {[]string{"TZ=America/St_Johns", "LC_ALL=C"}, nil},
		"one processor": {[]string{"GOMAXPROCS=1", "GOGC=20"}, nil},
	} {
		require.Equal(t, want, says(t, run.env, program, append(run.args, recorded)...), name)
	}
	// Twice in one process, and with another tape before.
	small := made(t)
	alone := says(t, nil, program, small)
	require.Equal(t, alone+want+want, says(t, nil, program, small, recorded, recorded))
	require.Equal(t, want+alone, says(t, nil, program, recorded, small))
}

// TestSameAnswerOnOtherMachines compiles the analyzers for a 32-bit machine and for
// newer and other processors, and compares their answers with this machine's. The
// 32-bit program has the recorded tape to read; an emulated one a small tape.
func TestSameAnswerOnOtherMachines(t *testing.T) {
	small := made(t)
	program := compiled(t, "GOAMD64=v1")
	want, all := says(t, nil, program, small), says(t, nil, program, recorded)
	t.Run("386", func(t *testing.T) {
		other := compiled(t, "GOARCH=386")
		require.Equal(t, want, says(t, nil, other, small))
		require.Equal(t, all, says(t, nil, other, recorded))
	})
	t.Run("amd64 v3", func(t *testing.T) {
		// An emulated processor has what this level takes, whatever the machine's own.
		emulator := need.Tool(t, "qemu-user-static", "qemu-x86_64-static")
		require.Equal(t, want, says(t, nil, emulator, "-cpu", "max", compiled(t, "GOAMD64=v3"), small))
	})
	t.Run("arm64", func(t *testing.T) {
		emulator := need.Tool(t, "qemu-user-static", "qemu-aarch64-static")
		require.Equal(t, want, says(t, nil, emulator, compiled(t, "GOARCH=arm64"), small))
	})
}
