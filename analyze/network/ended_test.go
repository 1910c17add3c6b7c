package network

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// TestEndedIsConns: what Ended returns along the way, and what is left at the end,
// is what Conns yields, whoever asks how often.
func TestEndedIsConns(t *testing.T) {
	line := func(c *Conn) string {
		b, err := json.Marshal(c)
		require.NoError(t, err)
		return string(b)
	}
	early := 0
	for name, b := range readArchive(t, "testdata/zeek/zeek.tar.zst") {
		if filepath.Ext(name) == ".log" || len(b) > 100<<10 {
			continue
		}
		o := Options{Content: true, IgnoreChecksums: true}
		var want []string
		for c := range analyzeCapture(t, b, o).Conns() {
			want = append(want, line(c))
		}
		for _, every := range []int{1, 7} {
			o.Workers = 1 + every/7*2 // one, then three
			a := New(o)
			var got []string
			told := make(map[*Conn]bool)
			n := 0
			_ = readCapture(b, func(p *format.Packet) {
				require.NoError(t, a.Feed(p))
				if n++; n%every != 0 {
					return
				}
				for _, c := range a.Ended() {
					require.False(t, told[c], "told twice")
					told[c] = true
					got = append(got, line(c))
					early++
				}
			})
			require.NoError(t, a.Finish())
			for c := range a.Conns() {
				if !told[c] {
					got = append(got, line(c))
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			require.Equal(t, want, got, name)
			require.Empty(t, a.Ended())
		}
	}
	require.Greater(t, early, 50)
}
