package network

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// contentGate is the share of fields of each content log that must be equal.
const contentGate = 0.97

// contentLogs are the writers of the logs compared, and the fields that are not:
// names Zeek makes up, and what optional scripts or certificate stores add.
var contentLogs = map[string]func(w io.Writer, a *Analyzer) error{
	"dns":  func(w io.Writer, a *Analyzer) error { return WriteDNSLog(w, a.DNS()) },
	"http": func(w io.Writer, a *Analyzer) error { return WriteHTTPLog(w, a.HTTP()) },
	"ssl":  func(w io.Writer, a *Analyzer) error { return WriteSSLLog(w, a.TLS()) },
	"quic": func(w io.Writer, a *Analyzer) error { return WriteQUICLog(w, a.QUIC()) },
	"ssh":  func(w io.Writer, a *Analyzer) error { return WriteSSHLog(w, a.SSH()) },
}

var contentIgnored = []string{
	"ts", "uid", "auth", "addl", "original_query", "password",
	"client_header_names", "server_header_names", "validation_status",
	"requested_client_certificate_authorities",
}

func TestZeekContentLogs(t *testing.T) {
	b, err := os.ReadFile("testdata/zeek/content.tsv")
	require.NoError(t, err)
	open := zeekFiles(t)
	type score struct{ fields, equal int }
	scores := make(map[string]*score)
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") || contentLogs[f[0]] == nil {
			continue
		}
		log, name, trace := f[0], f[1], open("Traces/"+f[2])
		fields, want := logRows(open("Baseline/" + name + "/" + log + ".log"))
		require.NotEmpty(t, trace, f[2])
		require.NotEmpty(t, fields, name)
		var out bytes.Buffer
		a := analyzeCapture(t, trace, Options{Content: true, IgnoreChecksums: f[3] == "C"})
		require.NoError(t, contentLogs[log](&out, a))
		_, got := logRows(out.Bytes())
		if scores[log] == nil {
			scores[log] = &score{}
		}
		s := scores[log]
		n, equal, diffs := compareRows(fields, want, got)
		s.fields += n
		s.equal += equal
		for _, d := range diffs {
			t.Logf("%s %s: %s", log, name, d)
		}
	}
	for log, s := range scores {
		t.Logf("%s: %d of %d fields equal (%.1f %%)", log, s.equal, s.fields, 100*float64(s.equal)/float64(s.fields))
		require.GreaterOrEqual(t, float64(s.equal), contentGate*float64(s.fields), log)
	}
	require.Len(t, scores, len(contentLogs))
}

// compareRows pairs rows of the same connection and transaction in order and
// counts equal fields. A row missing has none.
func compareRows(fields []string, want, got []map[string]string) (n, equal int, diffs []string) {
	key := func(r map[string]string) string {
		return fmt.Sprint(r["id.orig_h"], r["id.orig_p"], r["id.resp_h"], r["id.resp_p"], r["trans_id"], r["trans_depth"])
	}
	left := make(map[string][]map[string]string)
	for _, r := range got {
		left[key(r)] = append(left[key(r)], r)
	}
	for _, w := range want {
		var g map[string]string
		if l := left[key(w)]; len(l) > 0 {
			g, left[key(w)] = l[0], l[1:]
		}
		for _, f := range fields {
			if slices.Contains(contentIgnored, f) {
				continue
			}
			n++
			a, b := w[f], g[f]
			if f == "host_key_fingerprint" && len(b) > len(a) {
				b = b[:len(a)] // Zeek cuts it short
			}
			if strings.HasSuffix(f, "_fuids") { // made up: only their number counts
				a, b = fmt.Sprint(strings.Count(a, ",")), fmt.Sprint(strings.Count(b, ","))
			}
			if a == b {
				equal++
			} else if g != nil {
				diffs = append(diffs, fmt.Sprintf("%s: %s: want %q got %q", key(w), f, a, b))
			}
		}
		if g == nil {
			diffs = append(diffs, "missing row "+key(w))
		}
	}
	return n, equal, diffs
}
