//go:build linux

package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/lab/truth"
)

func TestParseStat(t *testing.T) {
	var p truth.Process
	line := "123 (a) b (c) S 7 123 123 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711 1 2 3\n"
	require.NoError(t, parseStat(line, &p))
	require.Equal(t, truth.Process{PID: 123, PPID: 7, Comm: "a) b (c", State: "S", Threads: 3, StartTicks: 4711}, p)
	kernel := "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0 0"
	require.NoError(t, parseStat(kernel, &p))
	require.True(t, p.KernelThread)
	require.Error(t, parseStat("123 (a) S 7", &p))
	require.Error(t, parseStat("no parentheses", &p))
}

func TestParseSocket(t *testing.T) {
	inode, s, err := parseSocket("   1: 1409090A:D2F4 0209090A:115C 01 00000000:00000000 00:00000000 00000000     0        0 4242 1", "tcp")
	require.NoError(t, err)
	require.Equal(t, "4242", inode)
	require.Equal(t, truth.Socket{Proto: "tcp", Local: "10.9.9.20:54004", Remote: "10.9.9.2:4444", State: "ESTABLISHED"}, s)
	_, s, err = parseSocket("   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1", "tcp")
	require.NoError(t, err)
	require.Equal(t, "[::]:80", s.Local)
	_, _, err = parseSocket("   0: 0000:0050 00000000:0000 0A 0:0 0:0 0 0 0 7 1", "tcp")
	require.Error(t, err)
}

func TestParseLife(t *testing.T) {
	message := func(what uint32, data ...uint32) []byte {
		b := make([]byte, nlHeader+cnHeader+procEventHeader+24)
		event := b[nlHeader+cnHeader:]
		binary.LittleEndian.PutUint32(event, what)
		binary.LittleEndian.PutUint64(event[8:], 99)
		for i, d := range data {
			binary.LittleEndian.PutUint32(event[procEventHeader+4*i:], d)
		}
		return b
	}
	for _, c := range []struct {
		message []byte
		want    truth.Life
	}{
		{message(procEventFork, 10, 11, 12, 13), truth.Life{Monotonic: 99, Event: "fork", PPID: 11, TID: 12, PID: 13}},
		{message(procEventExec, 12, 13), truth.Life{Monotonic: 99, Event: "exec", TID: 12, PID: 13}},
		{message(procEventExit, 12, 13, 256), truth.Life{Monotonic: 99, Event: "exit", TID: 12, PID: 13, Status: 256}},
		{message(procEventComm, 12, 13, 0x67627573), truth.Life{Monotonic: 99, Event: "comm", TID: 12, PID: 13, Comm: "subg"}},
	} {
		got, ok := parseLife(c.message)
		require.True(t, ok)
		require.Equal(t, c.want, got)
	}
	_, ok := parseLife(message(4)) // PROC_EVENT_UID: of no interest
	require.False(t, ok)
	_, ok = parseLife(make([]byte, 20))
	require.False(t, ok)
}

func TestCommits(t *testing.T) {
	root := t.TempDir()
	require.Empty(t, commits(root))
	write := func(name, text string) {
		name = filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	write("proc/fs/jbd2/xvda-8/info", "9 transactions (9 requested), each up to 1024 blocks\naverage: \n")
	require.Equal(t, "9 transactions (9 requested), each up to 1024 blocks", commits(root))
	write("sys/fs/xfs/xvdc/log/log_head_lsn", "1:4\n")
	require.Empty(t, commits(root), "of two file systems, which?")
}
