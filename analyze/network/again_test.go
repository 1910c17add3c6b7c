package network

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// own is what two connections that are alike have each of its own.
var own = regexp.MustCompile(`"(uid|fuid)":"[^"]*"|"(ts|first_record|last_record)":[0-9.]+|"(orig_fuids|resp_fuids|tunnel_parents)":\[[^\]]*\]`)

// TestSecondTimeIsLikeTheFirst: the same packets once more, long after, are
// connections like those of the first time, which theirs are made of.
func TestSecondTimeIsLikeTheFirst(t *testing.T) {
	const later = int64(1) << 61 // 73 years
	files := readArchive(t, "testdata/zeek/zeek.tar.zst")
	used := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".pcap" {
			continue
		}
		a := New(Options{Content: true, IgnoreChecksums: true})
		for time := range int64(2) {
			_ = readCapture(files[name], func(p *format.Packet) {
				p.Time += time * later
				p.Seq += uint64(time) << 32
				require.NoError(t, a.Feed(p))
			})
		}
		for _, s := range a.shards {
			used += len(s.spares.tcp) + len(s.spares.other)
		}
		require.NoError(t, a.Finish())
		var found [2][]string // by the time they were fed
		for c := range a.Conns() {
			b, err := json.Marshal(c)
			require.NoError(t, err)
			half := &found[c.FirstRecord>>32]
			*half = append(*half, string(own.ReplaceAll(b, nil)))
		}
		// What begins in one packet, a tunnel and what is in it, is in the order of names.
		slices.Sort(found[0])
		slices.Sort(found[1])
		require.Len(t, found[1], len(found[0]), name)
		for i := range found[0] {
			require.Equal(t, found[0][i], found[1][i], name)
		}
	}
	require.NotZero(t, used)
}
