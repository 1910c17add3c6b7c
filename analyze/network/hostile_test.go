package network

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

// checkAnalysis holds what must be true of every analysis, whatever the packets.
func checkAnalysis(t testing.TB, a *Analyzer) {
	packets := uint64(0)
	last := int64(-1 << 63)
	for c := range a.Conns() {
		require.NotEmpty(t, c.UID)
		require.LessOrEqual(t, c.FirstRecord, c.LastRecord)
		require.LessOrEqual(t, last, c.Start)
		last = c.Start
		if len(c.TunnelParents) == 0 {
			packets += c.OrigPkts + c.RespPkts
		}
		if c.Duration != nil {
			require.GreaterOrEqual(t, *c.Duration, Seconds(0))
		}
		_, err := json.Marshal(c)
		require.NoError(t, err)
	}
	// A wireless frame can carry several packets; nothing else makes more
	// packets than there were.
	require.LessOrEqual(t, packets, a.Stats().Packets*64)
	for f := range a.Files() {
		require.Equal(t, f.Complete, f.SHA256 != "")
	}
	var logs bytes.Buffer
	require.NoError(t, WriteConnLog(&logs, a.Conns()))
	for _, write := range contentLogs {
		require.NoError(t, write(&logs, a))
	}
}

// TestPublicCaptures reads every capture below XENTAPE_CAPTURES: meant for the
// test suites of tcpdump, Zeek, Suricata and nDPI, which collect what broke
// parsers before. The same properties are fuzzed by FuzzAnalyzer.
func TestPublicCaptures(t *testing.T) {
	dir := need.Named(t, "XENTAPE_CAPTURES", "a folder of capture files, such as the tests of tcpdump, Zeek, Suricata and nDPI")
	files, packets := 0, uint64(0)
	var slowest time.Duration
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) < 24 {
			return err
		}
		read := 0
		if readCapture(b, func(*format.Packet) { read++ }) != nil && read == 0 {
			return nil // not a capture file
		}
		for _, o := range []Options{{Content: true, IgnoreChecksums: true}, {Content: true, Workers: 2}} {
			begin := time.Now()
			a := analyzeCapture(t, b, o)
			if took := time.Since(begin); took > slowest {
				slowest = took
				t.Logf("%v %s", took, path)
			}
			require.Equal(t, uint64(read), a.Stats().Packets, path)
			checkAnalysis(t, a)
		}
		files++
		packets += uint64(read)
		return nil
	})
	require.NoError(t, err)
	require.NotZero(t, files, "no captures in %s", dir)
	t.Logf("%d files, %d packets, slowest %v", files, packets, slowest)
}

// FuzzAnalyzer feeds mutated captures; the result must hold together and not
// depend on the number of workers.
func FuzzAnalyzer(f *testing.F) {
	files := readArchive(f, "testdata/zeek/zeek.tar.zst")
	for name, b := range files {
		if filepath.Dir(name) != "" && len(b) < 8<<10 && len(b) > 24 && filepath.Ext(name) == ".pcap" {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		one := analyzeCapture(t, b, Options{Content: true, IgnoreChecksums: true})
		checkAnalysis(t, one)
		two := analyzeCapture(t, b, Options{Content: true, IgnoreChecksums: true, Workers: 2})
		require.Equal(t, everything(t, one), everything(t, two))
	})
}

// TestMutatedCaptures changes bytes of real captures at random places, the same
// ones every time: nothing may panic, and what comes out must hold together.
// XENTAPE_MUTATIONS sets how often each capture is changed.
func TestMutatedCaptures(t *testing.T) {
	files := readArchive(t, "testdata/zeek/zeek.tar.zst")
	names := slices.Sorted(maps.Keys(files))
	r := rand.New(rand.NewPCG(7, 7))
	times, runs := 6, 0
	if v := os.Getenv("XENTAPE_MUTATIONS"); v != "" {
		var err error
		times, err = strconv.Atoi(v)
		require.NoError(t, err)
	}
	for _, name := range names {
		if b := files[name]; filepath.Ext(name) == ".pcap" && len(b) < 12<<10 {
			for range times {
				m := bytes.Clone(b)
				for range 1 + r.IntN(12) {
					at := 24 + r.IntN(len(m)-24)
					switch r.IntN(3) {
					case 0:
						m[at] = byte(r.Uint32())
					case 1:
						m[at] ^= 1 << r.IntN(8)
					default:
						copy(m[at:], []byte{0xff, 0xff, 0xff, 0xff}[:r.IntN(5)])
					}
				}
				a := analyzeCapture(t, m, Options{Content: true, FileBlocks: true, IgnoreChecksums: true})
				checkAnalysis(t, a)
				runs++
			}
		}
	}
	require.GreaterOrEqual(t, runs, 300)
}

// everything writes all an analysis found, for comparing.
func everything(t testing.TB, a *Analyzer) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for c := range a.Conns() {
		require.NoError(t, enc.Encode(c))
	}
	for x := range a.DNS() {
		require.NoError(t, enc.Encode(x))
	}
	for x := range a.HTTP() {
		require.NoError(t, enc.Encode(x))
	}
	for x := range a.TLS() {
		require.NoError(t, enc.Encode(x))
	}
	for x := range a.SSH() {
		require.NoError(t, enc.Encode(x))
	}
	for x := range a.QUIC() {
		require.NoError(t, enc.Encode(x))
	}
	for x := range a.Files() {
		require.NoError(t, enc.Encode(x))
		require.NoError(t, enc.Encode(x.Blocks))
	}
	require.NoError(t, enc.Encode(a.Stats()))
	return b.String()
}

// TestWorkersChangeNothing: one, two and eight goroutines find the same, byte
// for byte.
func TestWorkersChangeNothing(t *testing.T) {
	for name, b := range readArchive(t, "testdata/zeek/zeek.tar.zst") {
		if filepath.Ext(name) == ".log" || len(b) > 300<<10 {
			continue
		}
		one := everything(t, analyzeCapture(t, b, Options{Content: true, FileBlocks: true, Workers: 1}))
		for _, n := range []int{2, 8} {
			require.Equal(t, one, everything(t, analyzeCapture(t, b, Options{Content: true, FileBlocks: true, Workers: n})), name)
		}
	}
}
