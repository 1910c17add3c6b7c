package page

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Hostile is what a guest would call its processes, files and hosts to take
// over the page of whoever looks at it.
var hostile = []string{
	`<script>document.documentElement.dataset.owned=1</script>`,
	`</script><script>document.documentElement.dataset.owned=1</script>`,
	`<img src=x onerror="document.documentElement.dataset.owned=1">`,
	`"><svg/onload=document.documentElement.dataset.owned=1>`,
	`javascript:document.documentElement.dataset.owned=1`,
	"\u202egnp.exe", "\x1b]0;owned\x07", "nul\x00byte", "line\u2028separator", `{{7*7}}${7*7}`,
	"</title><script>document.documentElement.dataset.owned=1</script>", "bad utf8 \xff\xfe",
}

func sample() *Data {
	d := &Data{Title: hostile[10], Tape: hostile[2], Version: "test", Start: 1_700_000_000e9, End: 1_700_000_100e9,
		Snapshots: []Instant{{1_700_000_050e9, "#1"}}, Gaps: []Gap{{1_700_000_010e9, 1_700_000_011e9, "vif0", hostile[0]}}}
	for i, s := range hostile {
		at := d.Start + int64(i)*5e9
		d.Processes = append(d.Processes, Process{PID: i + 1, Parent: i - 1, Name: s, Exe: s, Args: s, Start: at, End: at + 20e9})
		d.Files = append(d.Files, File{Op: "create", Path: s, Old: s, Lower: at, Upper: at + 1e9, Process: i, Detail: s})
		d.Conns = append(d.Conns, Conn{Proto: "tcp", Orig: "10.0.0.1:1", Resp: s, Service: s, Start: at, End: at + 9e9, Process: i})
		d.Findings = append(d.Findings, Finding{Time: at, Severity: "high", Title: s, Why: s, Processes: []int{i}, Files: []int{i}, Conns: []int{i}})
	}
	return d
}

func TestSameDataSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	require.NoError(t, Write(&a, sample()))
	require.NoError(t, Write(&b, sample()))
	require.Equal(t, a.Bytes(), b.Bytes())
}

func TestNothingOfTheGuestIsInTheMarkup(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Write(&b, sample()))
	require.NotContains(t, b.String(), "dataset.owned=1</script>")
	require.NotContains(t, b.String(), "onerror=\"document")
	require.Equal(t, 2, bytes.Count(b.Bytes(), []byte("<script")), "the data block and the one script")
	for _, no := range []string{".innerHTML", ".outerHTML", "insertAdjacent", "document.write", "eval(", "http:", "https:"} {
		require.False(t, bytes.Contains(script, []byte(no)), "the script has %q", no)
	}
	require.False(t, bytes.Contains(style, []byte("url(")))
}

// large makes a story of n file events.
func large(n int) *Data {
	d := sample()
	for i := range n {
		at := d.Start + int64(i)*int64(100e9)/int64(n)
		d.Files = append(d.Files, File{Op: "write", Path: fmt.Sprintf("/srv/data/%d", i), Lower: at, Upper: at + 1e6, Process: i % len(hostile)})
	}
	return d
}
