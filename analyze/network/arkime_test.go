package network

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// arkimeSession is what one of Arkime's own tests expects of a session.
type arkimeSession struct {
	Body struct {
		IPProtocol uint8 `json:"ipProtocol"`
		Source     struct {
			IP      string
			Port    uint16
			Packets uint64
		}
		Destination struct {
			IP      string
			Port    uint16
			Packets uint64
		}
		TLS struct{ JA3, JA3S, JA4 []string }
		SSH struct {
			HASSH       []string
			HASSHServer []string `json:"hasshServer"`
		}
		Network struct {
			Packets     uint64
			Bytes       uint64
			CommunityID string `json:"community_id"`
		}
	}
}

// communityGate is the share of Arkime's TCP, UDP and ICMP sessions whose
// community id must be found; the rest are in captures of link layers and
// tunnels not decoded here (frame relay) or differ by Arkime's own rules. Its
// SCTP and ESP sessions have ports or SPIs, which Zeek's connections have not.
const communityGate = 0.98

// prints collects the fingerprints expected in a session.
func (s *arkimeSession) prints() (all []string) {
	for kind, list := range map[string][]string{"ja3": s.Body.TLS.JA3, "ja3s": s.Body.TLS.JA3S, "ja4": s.Body.TLS.JA4,
		"hassh": s.Body.SSH.HASSH, "hasshServer": s.Body.SSH.HASSHServer} {
		for _, v := range list {
			all = append(all, kind+" "+v)
		}
	}
	return all
}

// fingerprints are those an analysis found.
func fingerprints(a *Analyzer) map[string]bool {
	found := make(map[string]bool)
	for r := range a.TLS() {
		found["ja3 "+r.JA3], found["ja3s "+r.JA3S], found["ja4 "+r.JA4] = true, true, true
	}
	for r := range a.SSH() {
		found["hassh "+r.HASSH], found["hasshServer "+r.HASSHServer] = true, true
	}
	return found
}

// fingerprintGate is the share of Arkime's fingerprints that must be found; the
// rest are of DTLS, OpenVPN and adb, which are not looked into.
const fingerprintGate = 0.80

// frameBytes sums the frames of each connection, found by looking at every frame
// alone: Arkime counts whole frames, Zeek's connections what IP says.
func frameBytes(t *testing.T, trace []byte) map[string]uint64 {
	sum := make(map[string]uint64)
	_ = readCapture(trace, func(p *format.Packet) {
		a := New(Options{IgnoreChecksums: true})
		require.NoError(t, a.Feed(p))
		require.NoError(t, a.Finish())
		for c := range a.Conns() {
			sum[c.CommunityID] += uint64(len(p.Data))
		}
	})
	return sum
}

// TestArkimeSessions compares with the sessions Arkime expects in its own tests.
// The always-run counterpart is TestCommunityID.
func TestArkimeSessions(t *testing.T) {
	files, err := filepath.Glob(need.Recording(t, "network/candidate/arkime/*.test"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	total, found, packets, same, prints, equal := 0, 0, 0, 0, 0, 0
	sameBytes := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		var want struct {
			Sessions []arkimeSession `json:"sessions3"`
		}
		require.NoError(t, json.Unmarshal(b, &want), name)
		trace, err := os.ReadFile(strings.TrimSuffix(name, ".test") + ".pcap")
		if err != nil {
			continue
		}
		a := analyzeCapture(t, trace, Options{Content: true, IgnoreChecksums: true})
		counts, bytes := make(map[string]uint64), frameBytes(t, trace)
		for c := range a.Conns() {
			counts[c.CommunityID] += c.OrigPkts + c.RespPkts
		}
		expected, expectedBytes := make(map[string]uint64), make(map[string]uint64)
		have := fingerprints(a)
		for _, s := range want.Sessions {
			for _, p := range s.prints() {
				prints++
				if have[p] {
					equal++
				} else {
					t.Logf("%s: no %s", filepath.Base(name), p)
				}
			}
			switch s.Body.IPProtocol {
			case 1, 6, 17, 58:
				expected[s.Body.Network.CommunityID] += s.Body.Network.Packets
				expectedBytes[s.Body.Network.CommunityID] += s.Body.Network.Bytes
			}
		}
		delete(expected, "")
		for id, n := range expected {
			total++
			got, ok := counts[id]
			if !ok {
				t.Logf("%s: no connection with %s (%d packets)", filepath.Base(name), id, n)
				continue
			}
			found++
			packets++
			if got == n {
				same++
				if bytes[id] == expectedBytes[id] {
					sameBytes++
				} else {
					t.Logf("%s: %s: %d bytes, want %d", filepath.Base(name), id, bytes[id], expectedBytes[id])
				}
			} else {
				t.Logf("%s: %s: %d packets, want %d", filepath.Base(name), id, got, n)
			}
		}
	}
	t.Logf("community ids: %d of %d; packets equal: %d of %d; bytes equal where packets are: %d of %d; fingerprints: %d of %d", found, total, same, packets, sameBytes, same, equal, prints)
	require.NotZero(t, prints)
	require.GreaterOrEqual(t, float64(same), 0.98*float64(packets))
	require.GreaterOrEqual(t, float64(sameBytes), 0.99*float64(same))
	require.GreaterOrEqual(t, float64(equal), fingerprintGate*float64(prints))
	require.GreaterOrEqual(t, float64(found), communityGate*float64(total))
	require.GreaterOrEqual(t, float64(same), communityGate*float64(packets))
}
