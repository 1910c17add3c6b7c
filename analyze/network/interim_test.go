package network

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// TestInterimIsFinishSoFar: at any packet, Interim yields the connections that
// Finish would there, content that Finish yields in the end too, and leaves the
// analysis as it was.
func TestInterimIsFinishSoFar(t *testing.T) {
	conns := func(a *Analyzer) (all []string) {
		for c := range a.Conns() {
			b, err := json.Marshal(c)
			require.NoError(t, err)
			all = append(all, string(b))
		}
		return all
	}
	content := func(a *Analyzer) map[string]int {
		m := map[string]int{}
		for f := range a.Files() {
			m["file "+f.UID+f.SHA256]++
		}
		for f := range a.Streams() {
			m["stream "+f.UID+f.SHA256]++
		}
		return m
	}
	open, carried := 0, 0
	for name, b := range readArchive(t, "testdata/zeek/zeek.tar.zst") {
		if filepath.Ext(name) == ".log" || len(b) > 60<<10 {
			continue
		}
		o := Options{Content: true, Streams: true, IgnoreChecksums: true}
		whole := analyzeCapture(t, b, o)
		for _, workers := range []int{1, 3} {
			o.Workers = workers
			a := New(o)
			var packets []*format.Packet
			_ = readCapture(b, func(p *format.Packet) {
				require.NoError(t, a.Feed(p))
				packets = append(packets, p)
				if len(packets)%20 != 0 {
					return
				}
				a.Interim()
				for k, n := range content(a) {
					require.LessOrEqual(t, n, content(whole)[k], "%s: %s", name, k)
					carried += n
				}
			})
			require.NoError(t, a.Finish())
			require.Equal(t, conns(whole), conns(a), name)
			require.Equal(t, content(whole), content(a), name)

			bare := Options{IgnoreChecksums: true, Workers: workers}
			half, to := New(bare), New(bare)
			for _, p := range packets[:len(packets)/2] {
				require.NoError(t, half.Feed(p))
				require.NoError(t, to.Feed(p))
			}
			half.Interim()
			said := conns(half)
			for _, s := range half.shards {
				open += s.table.len()
			}
			require.NoError(t, to.Finish())
			require.Equal(t, conns(to), said, name)
		}
	}
	require.Greater(t, open, 50, "connections were open")
	require.Greater(t, carried, 50, "content was complete before the end")
}
