package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// TestMemoryRoundTrip: an image becomes a tape and comes out in every format, and
// each is read back page for page.
func TestMemoryRoundTrip(t *testing.T) {
	dir := t.TempDir()
	raw := make([]byte, 64*format.PageSize)
	for n := range 64 {
		if n%5 != 0 { // every fifth frame is zeros
			for i := range format.PageSize {
				raw[n*format.PageSize+i] = byte(n*7 + i*i>>3)
			}
		}
	}
	source := filepath.Join(dir, "guest.raw")
	require.NoError(t, os.WriteFile(source, raw, 0o644))
	tape := filepath.Join(dir, "t.xtape")
	ok(t, "import", "--paused", "--memory", source+"@2026-11-22T12:00:00Z", "-o", tape)
	for _, as := range []string{"raw", "lime", "elf", "xen-core"} {
		out := filepath.Join(dir, "out."+as)
		r := xentape(t, "export", "memory", tape, "--format", as, "-o", out)
		require.Equal(t, exitDone, r.code, r.err)
		m, c, err := openMemory(out, false)
		require.NoError(t, err, as)
		for _, w := range m.Warnings {
			require.Contains(t, w, "vCPU", "a raw image had no processor state to give")
		}
		require.Equal(t, as, m.Format)
		page := make([]byte, format.PageSize)
		for n := range uint64(64) {
			st, err := m.ReadPage(n, page)
			require.NoError(t, err)
			require.Contains(t, []format.PageState{format.PageData, format.PageZero}, st, "%s frame %d", as, n)
			require.True(t, bytes.Equal(raw[n*format.PageSize:(n+1)*format.PageSize], page), "%s frame %d", as, n)
		}
		require.NoError(t, c.Close())
		if as != "raw" {
			continue
		}
		require.Contains(t, r.err, "tells holes from zeros nowhere", "the loss is said")
	}
}
