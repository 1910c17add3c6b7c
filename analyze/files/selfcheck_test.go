package files

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// selfChecks stops a trace at 20 records, spread by a fixed generator, and compares what
// was followed until then with a fresh crawl.
func selfChecks(t *testing.T, dir string) {
	total := entriesOf(t, dir)
	stops, x := map[uint64]bool{}, uint64(0x9E3779B97F4A7C15)
	for total > 40 && len(stops) < 20 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		stops[1+x%total] = true
	}
	require.Len(t, stops, 20)
	a, log := openTrace(t, dir, Options{Hash: true})
	checked := 0
	eachEntry(t, log, func(r format.Record) {
		require.NoError(t, a.Feed(r))
		if _, anchor := r.(*format.Anchor); anchor || !stops[r.Header().Seq] {
			return
		}
		checked++
		a.State()
		require.Empty(t, a.SelfCheck(), "%s at record %d", filepath.Base(dir), r.Header().Seq)
	})
	require.Equal(t, 20, checked)
}

// TestSelfCheckAnywhere: at any record a fresh crawl finds what was followed.
func TestSelfCheckAnywhere(t *testing.T) {
	for _, name := range []string{"ext4", "ext3", "nojournal", "fc", "xfs", "btrfs"} {
		t.Run(name, func(t *testing.T) { selfChecks(t, unpack(t, name)) })
	}
}

// TestMoreTracesSelfCheck does the same with the traces under XENTAPE_TRACES.
func TestMoreTracesSelfCheck(t *testing.T) { eachTrace(t, "man", selfChecks) }
