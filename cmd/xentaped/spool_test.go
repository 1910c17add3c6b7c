package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xentape/xentape/capture"
)

// TestSpoolOfATape: it is gone with a tape that has everything, kept with one that has
// not, and never written over.
func TestSpoolOfATape(t *testing.T) {
	clock, err := capture.NewClock()
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "web.xtape")
	tape, err := createTape(name, tapeOptions{spool: 1 << 20}, clock)
	require.NoError(t, err)
	require.FileExists(t, spoolOf(name))
	require.NoError(t, tape.Close())
	require.NoFileExists(t, spoolOf(name))
	require.NoError(t, os.Remove(name))

	tape, err = createTape(name, tapeOptions{spool: 1 << 20}, clock)
	require.NoError(t, err)
	_, err = tape.spool.WriteAt([]byte("of a snapshot"), 0)
	require.NoError(t, err)
	require.NoError(t, tape.Close())
	require.NoError(t, os.Remove(name))
	_, err = createTape(name, tapeOptions{spool: 1 << 20}, clock)
	require.ErrorContains(t, err, "move it away")
	require.NoFileExists(t, name)
	left, err := os.ReadFile(spoolOf(name))
	require.NoError(t, err)
	require.Equal(t, "of a snapshot", string(left))
}

// TestSpoolLeavesTheReserve of the file system.
func TestSpoolLeavesTheReserve(t *testing.T) {
	s, err := createSpool(filepath.Join(t.TempDir(), "web.xtape"), 1<<62)
	require.NoError(t, err)
	_, err = s.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, s.close())
}

// TestSpoolLeavesTheTapeItsRoom: what waits in it goes to the tape before it is given up.
func TestSpoolLeavesTheTapeItsRoom(t *testing.T) {
	s, err := createSpool(filepath.Join(t.TempDir(), "web.xtape"), 0)
	require.NoError(t, err)
	left, err := roomOn(s.File)
	require.NoError(t, err)
	s.reserve = left / 2
	_, err = s.WriteAt([]byte("x"), 0)
	require.NoError(t, err)
	_, err = s.WriteAt([]byte("x"), left/2)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, s.close())
}

// TestSealedTapeHasNoSpool: it would have the guest's memory in clear.
func TestSealedTapeHasNoSpool(t *testing.T) {
	clock, err := capture.NewClock()
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "web.xtape")
	tape, err := createTape(name, tapeOptions{spool: 1 << 20, recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}}, clock)
	require.NoError(t, err)
	require.NoFileExists(t, spoolOf(name))
	require.NoError(t, tape.Close())
}
