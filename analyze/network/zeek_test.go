package network

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// A zeekCase is one of Zeek's own tests: a trace and the logs Zeek publishes
// for it.
type zeekCase struct {
	name, trace string
	opt         Options
}

// zeekCases reads testdata/zeek/cases.tsv.
func zeekCases(t testing.TB) []zeekCase {
	b, err := os.ReadFile("testdata/zeek/cases.tsv")
	require.NoError(t, err)
	var cases []zeekCase
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") || len(f) != 6 || f[5] == "large" && os.Getenv("XENTAPE_DATA") == "" {
			continue
		}
		c := zeekCase{name: f[0], trace: f[1], opt: Options{Content: true, IgnoreChecksums: f[2] == "C"}}
		switch f[3] {
		case "*":
		case "-":
			c.opt.Protocols = []string{}
		default:
			c.opt.Protocols = strings.Split(f[3], ",")
		}
		if f[4] != "-" {
			c.opt.LocalNets = []netip.Prefix{netip.MustParsePrefix(f[4])}
		}
		cases = append(cases, c)
	}
	require.NotEmpty(t, cases)
	return cases
}

// zeekFiles returns the traces and logs by path: those kept in testdata, and the
// large ones where XENTAPE_DATA names the whole set.
func zeekFiles(t testing.TB) func(name string) []byte {
	files := readArchive(t, "testdata/zeek/zeek.tar.zst")
	dir := os.Getenv("XENTAPE_DATA")
	return func(name string) []byte {
		if b, ok := files[name]; ok || dir == "" {
			return b
		}
		b, err := os.ReadFile(filepath.Join(dir, "network/candidate/zeek", name))
		require.NoError(t, err)
		return b
	}
}

func readArchive(t testing.TB, path string) map[string][]byte {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	require.NoError(t, err)
	defer z.Close()
	files := make(map[string][]byte)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		files[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

// analyzeCapture runs a capture through an Analyzer.
func analyzeCapture(t testing.TB, b []byte, o Options) *Analyzer {
	a := New(o)
	_ = readCapture(b, func(p *format.Packet) { require.NoError(t, a.Feed(p)) })
	require.NoError(t, a.Finish())
	return a
}

// logRows parses a Zeek log into rows of named values.
func logRows(b []byte) (fields []string, rows []map[string]string) {
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] == "#fields" {
			fields = f[1:]
		}
		if strings.HasPrefix(line, "#") || len(f) != len(fields) {
			continue
		}
		row := make(map[string]string, len(f))
		for i, v := range f {
			row[fields[i]] = v
		}
		rows = append(rows, row)
	}
	return fields, rows
}

// comparableRow renders the fields of a row that can be compared: all but times of
// day and names that Zeek makes up. Of tunnel_parents the number is compared.
func comparableRow(fields []string, row map[string]string) string {
	var b strings.Builder
	for _, f := range fields {
		v := row[f]
		switch f {
		case "ts", "uid":
			continue
		case "tunnel_parents":
			if v != "-" {
				v = fmt.Sprint(strings.Count(v, ",") + 1)
			}
		}
		fmt.Fprintf(&b, "%s=%s ", f, v)
	}
	return b.String()
}

// unmatched returns the rows of want without an equal one in got, and the
// reverse.
func unmatched(fields []string, want, got []map[string]string) (missing, extra []string) {
	left := make(map[string]int)
	for _, r := range got {
		left[comparableRow(fields, r)]++
	}
	for _, r := range want {
		s := comparableRow(fields, r)
		if left[s] > 0 {
			left[s]--
		} else {
			missing = append(missing, s)
		}
	}
	for s, n := range left {
		for range n {
			extra = append(extra, s)
		}
	}
	slices.Sort(extra)
	return missing, extra
}

// zeekConnGate is the share of conn.log rows that must be equal in every field.
const zeekConnGate = 0.98

func TestZeekConnLogs(t *testing.T) {
	open := zeekFiles(t)
	total, equal := 0, 0
	for _, c := range zeekCases(t) {
		trace, log := open("Traces/"+c.trace), open("Baseline/"+c.name+"/conn.log")
		require.NotEmpty(t, trace, c.trace)
		require.NotEmpty(t, log, c.name)
		fields, want := logRows(log)
		var out bytes.Buffer
		require.NoError(t, WriteConnLog(&out, analyzeCapture(t, trace, c.opt).Conns()))
		_, got := logRows(out.Bytes())
		// Fields of optional scripts (MAC addresses, VLANs of vlan-logging) are
		// not in every log; the names common to both are compared.
		fields = slices.DeleteFunc(fields, func(f string) bool { return len(got) > 0 && got[0][f] == "" })
		missing, extra := unmatched(fields, want, got)
		total += len(want)
		equal += len(want) - len(missing)
		for _, m := range missing {
			t.Logf("%s: want %s", c.name, m)
		}
		for _, e := range extra {
			t.Logf("%s:  got %s", c.name, e)
		}
	}
	t.Logf("%d of %d rows equal (%.1f %%)", equal, total, 100*float64(equal)/float64(total))
	require.GreaterOrEqual(t, float64(equal), zeekConnGate*float64(total))
}
