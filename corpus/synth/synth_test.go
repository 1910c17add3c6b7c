package synth

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/network"
	"github.com/xentape/xentape/format"
)

// made writes a scenario's tape and checks that it verifies.
func made(t testing.TB, s *Scenario) []byte {
	var b bytes.Buffer
	require.NoError(t, s.Write(&b))
	rep, err := format.Verify(bytes.NewReader(b.Bytes()), int64(b.Len()), format.VerifyOptions{})
	require.NoError(t, err)
	require.True(t, rep.OK, "%+v", rep)
	return b.Bytes()
}

func records(t testing.TB, tape []byte) (all []format.Record) {
	r, err := format.Open(bytes.NewReader(tape), int64(len(tape)), format.ReaderOptions{})
	require.NoError(t, err)
	for rec, err := range r.Records(format.Query{}) {
		require.NoError(t, err)
		all = append(all, rec)
	}
	return all
}

// parse reads a scenario whose head is the same in all tests.
func parse(t testing.TB, text string) *Scenario {
	s, err := Parse([]byte("name: x\nstart: 2026-01-05T09:00:00Z\n"+text), t.TempDir())
	require.NoError(t, err)
	return s
}

func TestSameScenarioSameBytes(t *testing.T) {
	s, err := Load("testdata/dropper.yaml")
	require.NoError(t, err)
	one := made(t, s)
	t.Setenv("TZ", "Asia/Kathmandu")
	t.Setenv("LC_ALL", "C.UTF-8")
	again, err := Load("testdata/dropper.yaml")
	require.NoError(t, err)
	require.Equal(t, one, made(t, again))
}

// TestPacketsAreWhatWasSaid asks the analyzer, with checksums on, what it understood.
func TestPacketsAreWhatWasSaid(t *testing.T) {
	s := parse(t, `
events:
  - {at: 1s, dns: {server: 10.0.0.2, ask: c2.example, answer: 198.51.100.7}}
  - {at: 2s, dns: {server: 10.0.0.2, ask: missing.example}}
  - {at: 3s, http: {server: "198.51.100.7:80", host: c2.example, get: /a, body: "`+strings.Repeat("0123456789", 400)+`"}}
  - {at: 4s, tcp: {to: "198.51.100.7:4444", say: ["<id\n", ">uid=0\n"], open: true}}
  - {at: 5s, tcp: {to: "198.51.100.7:81", reset: true}}
  - {at: 6s, tcp: {from: "198.51.100.9:5000", to: "10.0.0.5:22", say: ["<hello"]}}
`)
	a := network.New(network.Options{Content: true})
	for _, r := range records(t, made(t, s)) {
		require.NoError(t, a.Feed(r))
	}
	var got []string
	require.NoError(t, a.Finish())
	for c := range a.Conns() {
		got = append(got, strings.Join([]string{c.OrigH.String(), c.RespH.String(), c.Service, c.ConnState, c.History}, " "))
	}
	require.Equal(t, []string{
		"10.0.0.5 10.0.0.2 dns SF Dd",
		"10.0.0.5 10.0.0.2 dns SF Dd",
		"10.0.0.5 198.51.100.7 http SF ShADadFf",
		"10.0.0.5 198.51.100.7  S1 ShAdDa",
		"10.0.0.5 198.51.100.7  REJ Sr",
		"198.51.100.9 10.0.0.5  SF ShADaFf",
	}, got)
}

func TestGapHidesAndIsStated(t *testing.T) {
	s := parse(t, `
events:
  - {at: 1s, dns: {server: 10.0.0.2, ask: a.example}}
  - {at: 2s, dns: {server: 10.0.0.2, ask: b.example}}
  - {at: 1900ms, gap: {stream: vif0, until: 2500ms, reason: overflow, count: 2, hide: true}}
  - {at: 3s, dns: {server: 10.0.0.2, ask: c.example}}
`)
	packets, gaps := 0, 0
	for _, r := range records(t, made(t, s)) {
		switch r := r.(type) {
		case *format.Packet:
			packets++
			require.NotContains(t, string(r.Data), "\x01b\x07example")
		case *format.Gap:
			gaps++
			require.Equal(t, uint64(2), r.Count)
			require.Equal(t, format.GapOverflow, r.Reason)
			require.Equal(t, int64(600e6), r.To-r.From)
		}
	}
	require.Equal(t, 4, packets)
	require.Equal(t, 1, gaps)
}

func TestMemoryComesFromATape(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	w, err := format.NewWriter(&b, format.WriterOptions{TapeID: [16]byte{3}, Producer: "test"})
	require.NoError(t, err)
	id, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory", Attrs: []format.Attr{{Name: "guest-type", Value: "pv"}}})
	require.NoError(t, err)
	snap, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Stream: id, Time: 5}, Pages: 3})
	require.NoError(t, err)
	page := bytes.Repeat([]byte{7}, format.PageSize)
	require.NoError(t, snap.Page(1, page))
	require.NoError(t, snap.State(format.Extent{Start: 2, Count: 1}, format.PageBallooned))
	require.NoError(t, w.Write(&format.Attachment{Stamp: format.Stamp{Stream: id, Time: 5}, Snapshot: snap.ID(), Name: "xen/p2m", Data: []byte("p2m")}))
	require.NoError(t, snap.End(format.SnapshotEnd{Stamp: format.Stamp{Stream: id, Time: 9}, Conditions: format.Conditions{Paused: true, PauseDone: 6, CopyEnd: 8}}))
	require.NoError(t, w.Seal())
	require.NoError(t, os.WriteFile(dir+"/recorded.xtape", b.Bytes(), 0o644))

	s, err := Parse([]byte("name: x\nstart: 2026-01-05T09:00:00Z\nevents: [{at: 2s, memory: {tape: recorded.xtape, snapshot: 1}}, {at: 4s, memory: {tape: recorded.xtape, snapshot: 1}}]"), dir)
	require.NoError(t, err)
	tape := made(t, s)
	r, err := format.Open(bytes.NewReader(tape), int64(len(tape)), format.ReaderOptions{})
	require.NoError(t, err)
	require.Len(t, r.Snapshots(), 2)
	for k, i := range r.Snapshots() {
		got, err := r.Snapshot(i.Begin.ID)
		require.NoError(t, err)
		b := make([]byte, format.PageSize)
		st, err := got.ReadPage(1, b)
		require.NoError(t, err)
		require.Equal(t, format.PageData, st)
		require.Equal(t, page, b)
		st, err = got.ReadPage(2, b)
		require.NoError(t, err)
		require.Equal(t, format.PageBallooned, st)
		a, ok := got.Attachment("xen/p2m")
		require.True(t, ok)
		require.Equal(t, "p2m", string(a))
		at := int64(epoch) + int64(2+2*k)*1e9
		require.Equal(t, at, i.End.Time)
		require.Equal(t, at-3, i.End.PauseDone, "as long before the end as it was")
	}
}

func TestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no events":      "name: x\nstart: 2026-01-05T09:00:00Z\n",
		"misspelt":       "name: x\nstart: 2026-01-05T09:00:00Z\nevents: [{at: 1s, dsn: {}}]",
		"two at once":    "name: x\nstart: 2026-01-05T09:00:00Z\nevents: [{at: 1s, dns: {ask: a}, tcp: {to: '10.0.0.2:1'}}]",
		"unknown disk":   "name: x\nstart: 2026-01-05T09:00:00Z\nevents: [{at: 1s, file: {disk: xvdb, do: mkdir, path: /a}}]",
		"before begin":   "name: x\nstart: 2026-01-05T09:00:00Z\nevents: [{at: -1s, dns: {ask: a}}]",
		"unknown reason": "name: x\nstart: 2026-01-05T09:00:00Z\nevents: [{at: 1s, gap: {stream: vif0, until: 2s, reason: bored}}]",
	} {
		_, err := Parse([]byte(text), t.TempDir())
		require.Error(t, err, name)
	}
	for name, text := range map[string]string{
		"no such file":  "disks: {xvda: {size: 4194304}}\nevents: [{at: 1s, file: {disk: xvda, do: delete, path: /nothing}}]",
		"no such step":  "disks: {xvda: {size: 4194304}}\nevents: [{at: 1s, file: {disk: xvda, do: explode, path: /nothing}}]",
		"strangers":     `events: [{at: 1s, tcp: {from: "1.2.3.4:1", to: "1.2.3.5:2"}}]`,
		"unknown voice": `events: [{at: 1s, tcp: {to: "1.2.3.5:2", say: ["hello"]}}]`,
		"long label":    "events: [{at: 1s, dns: {server: 10.0.0.2, ask: " + strings.Repeat("a", 64) + "}}]",
	} {
		require.Error(t, parse(t, text).Write(&bytes.Buffer{}), name)
	}
}
