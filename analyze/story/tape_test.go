package story

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/replay"
)

// shipped is the tape of an intrusion that is in the repository.
const shipped = "../../corpus/tapes/web-intrusion/tape.xtape"

func engineOf(t *testing.T, path string, o Options) *Engine {
	t.Helper()
	tape, err := replay.Open(path, replay.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tape.Close()) })
	o.Rules, err = Rules()
	require.NoError(t, err)
	return NewEngine(tape, o)
}

func byID(t *testing.T, s *Story) map[string]string {
	m := map[string]string{}
	for i := range s.Items {
		b, err := json.Marshal(&s.Items[i])
		require.NoError(t, err)
		require.NotContains(t, m, s.Items[i].ID)
		m[s.Items[i].ID] = string(b)
	}
	return m
}

// TestFollowingTellsWhatReplayTells: a growing tape is looked at again and again,
// and in the end the same is said as of the whole; the reverse shell is known with
// the snapshot that shows it, not later; the number of workers changes nothing.
func TestFollowingTellsWhatReplayTells(t *testing.T) {
	whole, err := engineOf(t, shipped, Options{}).Run(nil)
	require.NoError(t, err)
	want := byID(t, whole)
	e := engineOf(t, shipped, Options{Workers: 8})
	last := e.tape.Reader().Settled()
	require.Greater(t, last, uint64(1000))
	second := whole.Input().Snapshots[1]
	for _, at := range []uint64{second.First - 1, second.Last + 1, (second.Last + last) / 2} {
		e.upTo = at
		s, err := e.Follow(false)
		require.NoError(t, err)
		require.Equal(t, at > second.First, findings(s)["reverse-shell"] == "critical", "at record %d", at)
		for id := range byID(t, s) {
			require.Contains(t, want, id, "what is said once holds")
		}
	}
	e.upTo = 0
	s, err := e.Follow(true)
	require.NoError(t, err)
	require.Equal(t, want, byID(t, s))
}

// TestTheIncidentIsTold asks of the story what the lab's ground truth knows.
func TestTheIncidentIsTold(t *testing.T) {
	s, err := engineOf(t, shipped, Options{}).Run(nil)
	require.NoError(t, err)
	conns, changes := map[string]*Item{}, map[string]*Item{}
	var dropper *Item
	for i := range s.Items {
		switch it := &s.Items[i]; {
		case it.Kind == KindConnection:
			conns[it.Conn.UID] = it
		case it.Kind == KindFile:
			changes[it.File.Op+" "+it.File.Path] = it
		case it.Kind == KindProcess && it.Process.PID == 176:
			dropper = it
		}
	}
	fetched := changes["write /tmp/.u"]
	require.Equal(t, "70d83223ce7b36e84d11a40b41fc729adcaffa5442a9b3cc979cbf9a373a708e", fetched.File.SHA256, "as the guest's own record has it")
	require.Equal(t, "http://10.9.9.2/update.bin", fetched.File.FromURL)
	require.Equal(t, uint16(53654), conns[fetched.File.FromConn].Conn.OrigP, "by content")
	require.NotNil(t, dropper.Conn)
	require.Equal(t, uint16(37888), dropper.Conn.OrigP, "the request that started it, as the peer recorded it")
	stolen := changes["write /srv/www/customers.db"]
	require.Equal(t, uint16(9000), conns[stolen.File.ToConn].Conn.RespP)
	require.Empty(t, changes["write /srv/www/index.html"].File.FromConn, "it was served, not fetched")
	for _, c := range conns {
		if c.Conn.RespP == 4444 {
			require.Equal(t, 183, c.Process.PID)
			require.Equal(t, Exact, c.Process.Grade)
			require.Equal(t, []int{176}, c.Process.SharedWith)
		}
	}
}

// TestQuietTape: nothing above "info" on the tape of a quiet day, which is too
// large to ship. The rules' near misses are in TestEveryRuleFiresAndDoesNot.
func TestQuietTape(t *testing.T) {
	tape := need.Named(t, "XENTAPE_QUIET", "a tape of a quiet day: corpus/lab/record OUT quiet")
	s, err := engineOf(t, tape, Options{}).Run(nil)
	require.NoError(t, err)
	require.NotEmpty(t, s.Items)
	for id, severity := range findings(s) {
		require.Equal(t, "info", severity, id)
	}
}
