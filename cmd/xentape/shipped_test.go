package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus"
	"github.com/xentape/xentape/corpus/rewrite"
	"github.com/xentape/xentape/format"
)

const shipped = "../../corpus/tapes"

// TestShippedCorpus replays every tape that ships and compares.
func TestShippedCorpus(t *testing.T) {
	require.NotContains(t, ok(t, "corpus", "verify", shipped), "FAIL")
}

// TestCorpusCatchesBrokenAnalyzers: each mutation is a mistake an analyzer could
// make tomorrow, and the shipped corpus must notice it.
func TestCorpusCatchesBrokenAnalyzers(t *testing.T) {
	ends := regexp.MustCompile(`"id\.orig_p":(\d+),"id\.resp_h":"([^"]*)","id\.resp_p":(\d+)`)
	mutations := map[string]func(output string, lines []byte) []byte{
		"the last process of the list is missed": func(o string, b []byte) []byte {
			if o != "ps" {
				return b
			}
			all := strings.SplitAfter(string(b), "\n")
			return []byte(strings.Join(append(all[:len(all)-3], all[len(all)-2:]...), ""))
		},
		"originator and responder ports are mixed up": func(o string, b []byte) []byte {
			if o != "conns" {
				return b
			}
			return ends.ReplaceAll(b, []byte(`"id.orig_p":$3,"id.resp_h":"$2","id.resp_p":$1`))
		},
		"times of files lose their fractions": func(o string, b []byte) []byte {
			if o != "files" {
				return b
			}
			return regexp.MustCompile(`(:\d\d)\.\d+Z`).ReplaceAll(b, []byte("${1}Z"))
		},
	}
	cases, err := corpus.Load(shipped)
	require.NoError(t, err)
	sound := analyzeOutputs(&keyFlags{}, nil)
	for name, mutate := range mutations {
		broken := func(ctx context.Context, tape string, outputs []string) (map[string][]byte, error) {
			got, err := sound(ctx, tape, outputs)
			for o := range got {
				got[o] = mutate(o, got[o])
			}
			return got, err
		}
		results, err := corpus.Verify(context.Background(), cases, broken, 2, nil)
		require.NoError(t, err)
		caught := false
		for _, r := range results {
			require.NoError(t, r.Err)
			caught = caught || !r.OK()
		}
		require.True(t, caught, name)
	}
}

func TestWorkersDoNotChangeTheAnswer(t *testing.T) {
	tape := shipped + "/web-intrusion/tape.xtape"
	one := ok(t, "conns", "--json", "--workers", "1", tape)
	require.NotEmpty(t, one)
	for _, n := range []string{"2", "8", "-1"} {
		require.Equal(t, one, ok(t, "conns", "--json", "--workers", n, tape), n)
	}
}

// TestTheStoryOfTheShippedTape asks for what the incident is known to hold.
func TestTheStoryOfTheShippedTape(t *testing.T) {
	rules := map[string]bool{}
	for _, it := range lines(t, ok(t, "story", "--findings", "--json", shipped+"/web-intrusion/tape.xtape")) {
		rules[it["rule"].(string)] = true
		require.NotEmpty(t, it["evidence"])
	}
	for _, r := range []string{"dropped-executable-deleted", "imitates-kernel-thread", "reverse-shell", "downloaded-program-running", "uid0-account", "cron-persistence", "log-wiping", "setuid-root", "time-stomp"} {
		require.True(t, rules[r], "no finding of %s", r)
	}
}

// TestQuietDayRaisesNoAlarm: a server that is only at work gives findings to read,
// none to wake anybody for.
func TestQuietDayRaisesNoAlarm(t *testing.T) {
	quiet := shipped + "/quiet/tape.xtape"
	r := xentape(t, "story", "--json", "--findings", quiet)
	require.Equal(t, exitIncomplete, r.code, "the tape says what was left out of it: %s", r.err)
	require.NotEmpty(t, lines(t, r.out))
	// Nor does it without the image of its disk, as a segment of a ring may be.
	bare := filepath.Join(t.TempDir(), "bare.xtape")
	require.NoError(t, rewrite.File(quiet, bare, rewrite.Options{Keep: rewrite.Keep{Snapshot: func(format.SnapshotInfo) bool { return false }}}))
	b := xentape(t, "story", "--json", "--findings", bare)
	require.Equal(t, exitIncomplete, b.code)
	for _, f := range lines(t, r.out+b.out) {
		require.Equal(t, "info", f["severity"], f["summary"])
	}
}

// TestCatSaysWhatIsMissing: content that was never captured is not passed off as zeros, and
// a file that was not there then may have been at another time.
func TestCatSaysWhatIsMissing(t *testing.T) {
	quiet := shipped + "/quiet/tape.xtape"
	r := xentape(t, "cat", quiet, "xvda:/etc/dpkg/origins/debian")
	require.Equal(t, exitIncomplete, r.code)
	require.Len(t, r.out, 83)
	require.Contains(t, r.err, "up to 83 of its 83 bytes, from byte 0 on, were never captured")
	r = xentape(t, "cat", quiet, "xvda:/no/such")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, `xentape files --versions --path "/no/such"`)
}
