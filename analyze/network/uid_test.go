package network

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// TestCommunityID compares with what Zeek's community_id_v1 says of the traces
// of the community-id specification: every one must be equal.
func TestCommunityID(t *testing.T) {
	line := regexp.MustCompile(`orig_h=([^,]+), orig_p=(\d+)/\w+, resp_h=([^,]+), resp_p=(\d+)/\w+, .*\], (1:\S+)`)
	files := readArchive(t, "testdata/zeek/zeek.tar.zst")
	compared := 0
	for name, out := range files {
		if !strings.HasPrefix(name, "communityid/expected/") {
			continue
		}
		trace := files["communityid/pcaps/"+strings.TrimSuffix(strings.TrimPrefix(name, "communityid/expected/"), ".out")]
		require.NotEmpty(t, trace, name)
		got := make(map[string]bool)
		for c := range analyzeCapture(t, trace, Options{}).Conns() {
			got[c.CommunityID] = true
		}
		for _, m := range line.FindAllStringSubmatch(string(out), -1) {
			compared++
			require.True(t, got[m[5]], "%s: %s", name, m[0])
		}
	}
	require.Equal(t, 19, compared)
}

func TestUIDsAreStable(t *testing.T) {
	files := readArchive(t, "testdata/zeek/zeek.tar.zst")
	trace := files["Traces/http/connect-with-header.pcap"]
	require.NotEmpty(t, trace)
	first := everything(t, analyzeCapture(t, trace, Options{Content: true}))
	require.Equal(t, first, everything(t, analyzeCapture(t, trace, Options{Content: true})))
	require.Regexp(t, `"uid":"C[0-9A-Za-z]{17}"`, first)
}

// TestUIDsOfTwoInterfaces: the same packets seen at the same time on two interfaces
// are two connections with names of their own.
func TestUIDsOfTwoInterfaces(t *testing.T) {
	request, response := downloadOf([]byte("x"))
	a := New(Options{Content: true})
	for i, b := range exchange(1000, request, response) {
		for s := format.StreamID(3); s < 5; s++ {
			require.NoError(t, a.Feed(&format.Packet{Stamp: format.Stamp{Seq: uint64(2*i) + uint64(s), Time: int64(i) * 1e6, Stream: s},
				LinkType: 1, OrigLen: uint32(len(b)), Data: b}))
		}
	}
	require.NoError(t, a.Finish())
	names := map[string]bool{}
	for c := range a.Conns() {
		require.Equal(t, "SF", c.ConnState)
		names[c.UID] = true
	}
	require.Len(t, names, 2)
}
