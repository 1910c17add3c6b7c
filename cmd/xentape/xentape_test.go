package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// ran is what one call of the program did.
type ran struct {
	code     int
	out, err string
}

// xentape runs the program in process.
func xentape(t *testing.T, args ...string) ran {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return ran{code, out.String(), errs.String()}
}

// ok runs the program and requires that it was done and complete.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	r := xentape(t, args...)
	require.Equal(t, exitDone, r.code, "%v: %s", args, r.err)
	return r.out
}

// trace unpacks a recorded disk trace: base.img, log, and man/ with the tree at
// each mark.
func trace(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("../../analyze/files/testdata", name+".tar.zst"))
	require.NoError(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	require.NoError(t, err)
	defer z.Close()
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			b, err := io.ReadAll(r)
			require.NoError(t, err)
			name := filepath.Join(dir, filepath.Clean("/"+h.Name))
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			require.NoError(t, os.WriteFile(name, b, 0o644))
		}
	}
}

// capture writes a pcap of one DNS question and its answer.
func capture(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "dns.pcap")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	w := pcapgo.NewWriter(f)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	send := func(at time.Time, src, dst string, sp, dp layers.UDPPort, dns *layers.DNS) {
		eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
		udp := &layers.UDP{SrcPort: sp, DstPort: dp}
		require.NoError(t, udp.SetNetworkLayerForChecksum(ip))
		b := gopacket.NewSerializeBuffer()
		require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, dns))
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()))
	}
	q := layers.DNSQuestion{Name: []byte("evil.example"), Type: layers.DNSTypeA, Class: layers.DNSClassIN}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	send(at, "10.0.0.5", "10.0.0.9", 5353, 53, &layers.DNS{ID: 7, RD: true, Questions: []layers.DNSQuestion{q}})
	send(at.Add(time.Millisecond), "10.0.0.9", "10.0.0.5", 53, 5353, &layers.DNS{ID: 7, QR: true, Questions: []layers.DNSQuestion{q},
		Answers: []layers.DNSResourceRecord{{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60, IP: net.ParseIP("10.6.6.6")}}})
	return path
}

// tape makes a tape with a disk and an interface.
func tape(t *testing.T) (path, dir string) {
	t.Helper()
	dir = trace(t, "ext4")
	path = filepath.Join(dir, "t.xtape")
	ok(t, "import", "--reproducible", "--base", "xvda="+dir+"/base.img", "--writes", "xvda="+dir+"/log", "--packets", "vif0="+capture(t, dir), "-o", path)
	return path, dir
}

func lines(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		all = append(all, m)
	}
	return all
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"}, {"ps"}, {"ps", "a", "b"}, {"ps", "--nonsense", "x"}, {"import"}, {"import", "-o", "x"}, {"files"}, {"cat", "x", "no-colon"},
		{"analyze", "x"}, {"export", "nothing"}, {"prove", "x"}, {"corpus", "nonsense"}, {"verify", "--signer", "zz", "x"},
	} {
		r := xentape(t, args...)
		require.Equal(t, exitUsage, r.code, "%v: %s", args, r.err)
		require.NotEmpty(t, r.err, args)
		require.Empty(t, r.out, args)
	}
}

func TestEveryVerbHasHelpWithAnExample(t *testing.T) {
	help := ok(t, "--help")
	for _, c := range verbs(newTerminal(nil, io.Discard, io.Discard)) {
		require.Contains(t, help, c.Name())
		out := ok(t, c.Name(), "--help")
		require.Contains(t, out, "Examples:", c.Name())
		require.Contains(t, out, "xentape "+c.Name(), c.Name())
		for _, sub := range c.Commands() {
			if sub.Name() != "help" {
				require.Contains(t, ok(t, c.Name(), sub.Name(), "--help"), "Examples:", sub.Name())
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, ok(t, "completion", shell), "xentape")
	}
}

func TestFilesThatAreNoTape(t *testing.T) {
	dir := t.TempDir()
	empty, text := filepath.Join(dir, "empty"), filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("not a tape\n", 100)), 0o644))
	for _, verb := range []string{"info", "verify", "ps", "files", "conns", "story", "analyze", "watch"} {
		for _, path := range []string{empty, text, dir, filepath.Join(dir, "missing")} {
			args := append([]string{verb, path}, map[string][]string{"analyze": {"-o", filepath.Join(dir, "out")}, "watch": {"--stop-when-idle", "1ms", "--every", "1ms"}}[verb]...)
			r := xentape(t, args...)
			require.Contains(t, []int{exitFailed, exitIncomplete}, r.code, "%s %s: %s", verb, path, r.out)
			require.NotEmpty(t, r.err)
			require.NotContains(t, r.err, "panic")
		}
	}
}

func TestCouldNotLookIsNotNothingFound(t *testing.T) {
	path, _ := tape(t)
	r := xentape(t, "ps", path)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "no memory snapshot")
}

func TestImportedTapeAnswers(t *testing.T) {
	path, dir := tape(t)
	info := lines(t, ok(t, "info", "--json", path))[0]
	require.Equal(t, true, info["sealed"])
	require.Len(t, info["streams"], 2)
	require.Contains(t, ok(t, "verify", path), "ok")

	events := lines(t, ok(t, "files", "--json", path))
	direct := lines(t, ok(t, "files", "--json", "--base", "xvda="+dir+"/base.img", "--writes", dir+"/log"))
	require.NotEmpty(t, events)
	require.Len(t, direct, len(events), "a tape and the files it was made of say the same")
	for i := range events {
		require.Equal(t, direct[i]["path"], events[i]["path"])
		require.Equal(t, direct[i]["op"], events[i]["op"])
		require.Equal(t, direct[i]["disk"], events[i]["disk"])
		require.Equal(t, direct[i]["sha256_new"], events[i]["sha256_new"])
		require.Equal(t, direct[i]["time_lower"], events[i]["time_lower"])
	}

	conns := lines(t, ok(t, "conns", "--json", path))
	require.Len(t, conns, 1)
	require.Equal(t, "10.0.0.5", conns[0]["id.orig_h"])
	require.Equal(t, "dns", conns[0]["service"])
	require.Contains(t, ok(t, "conns", path), "evil.example")

	story := lines(t, ok(t, "story", "--json", path))
	for i := 1; i < len(story); i++ {
		require.LessOrEqual(t, story[i-1]["time"].(string)[:19], story[i]["time"].(string)[:19])
	}
}

func TestExportedDiskIsTheDisk(t *testing.T) {
	path, dir := tape(t)
	img := filepath.Join(dir, "end.img")
	ok(t, "export", "disk", path, "xvda", "-o", img)
	got, err := os.ReadFile(img)
	require.NoError(t, err)
	want, err := os.ReadFile(dir + "/base.img")
	require.NoError(t, err)
	replayLog(t, dir+"/log", want)
	require.True(t, bytes.Equal(want, got), "base and log put together by hand give the same")
	require.Equal(t, exitFailed, xentape(t, "export", "disk", path, "xvda", "-o", img).code, "evidence is not overwritten")
}

// replayLog applies a dm-log-writes log as Documentation/admin-guide/device-mapper/log-writes.rst
// describes it, independently of the product's reader.
func replayLog(t *testing.T, path string, disk []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	le := func(p []byte) uint64 {
		var v uint64
		for i := 7; i >= 0; i-- {
			v = v<<8 | uint64(p[i])
		}
		return v
	}
	n := le(b[16:])
	b = b[512:]
	for range n {
		sector, count, flags := le(b), le(b[8:]), le(b[16:])
		b = b[512:]
		if flags&4 != 0 {
			clear(disk[sector*512 : (sector+count)*512])
			continue
		}
		copy(disk[sector*512:], b[:count*512])
		b = b[count*512:]
	}
}

func TestPacketsRoundTrip(t *testing.T) {
	path, dir := tape(t)
	out := filepath.Join(dir, "out.pcapng")
	ok(t, "export", "packets", path, "-o", out)
	a, b := lines(t, ok(t, "conns", "--json", filepath.Join(dir, "dns.pcap")))[0], lines(t, ok(t, "conns", "--json", out))[0]
	for _, field := range []string{"ts", "id.orig_h", "id.resp_p", "history", "orig_bytes", "resp_bytes", "community_id", "conn_state"} {
		require.Equal(t, a[field], b[field], field)
	}
}

func TestDamageIsSaidAndSalvaged(t *testing.T) {
	path, dir := tape(t)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	bad := append([]byte(nil), b...)
	bad[len(bad)/2] ^= 0x10
	badPath := filepath.Join(dir, "bad.xtape")
	require.NoError(t, os.WriteFile(badPath, bad, 0o644))
	r := xentape(t, "verify", badPath)
	require.Equal(t, exitVerification, r.code)
	require.Contains(t, r.out, "damage")
	saved := filepath.Join(dir, "saved.xtape")
	r = xentape(t, "salvage", badPath, "-o", saved)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.out, "lost: 1 chunks")
	ok(t, "verify", saved)
	require.Contains(t, ok(t, "salvage", saved, "-o", filepath.Join(dir, "again.xtape")), "nothing of them is lost", "what was lost before is on the tape")

	cut := filepath.Join(dir, "cut.xtape")
	require.NoError(t, os.WriteFile(cut, b[:len(b)*2/3], 0o644))
	require.Equal(t, exitVerification, xentape(t, "verify", cut).code)
	require.NotEmpty(t, lines(t, xentape(t, "info", "--json", cut).out))
	savedCut := filepath.Join(dir, "saved-cut.xtape")
	r = xentape(t, "salvage", cut, "-o", savedCut)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.out, "not completed")
	ok(t, "verify", savedCut)
	a, b2 := lines(t, xentape(t, "info", "--json", cut).out)[0], lines(t, xentape(t, "info", "--json", savedCut).out)[0]
	require.Equal(t, a["streams"], b2["streams"], "what the cut tape knew, the saved one knows")
}

// TestSalvageTakesTheSpool that a recorder which was killed left beside its tape.
func TestSalvageTakesTheSpool(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "killed.xtape")
	f, err := os.Create(path)
	require.NoError(t, err)
	spool, err := os.Create(path + format.SpoolSuffix)
	require.NoError(t, err)
	w, err := format.NewWriter(f, format.WriterOptions{Spool: spool})
	require.NoError(t, err)
	id, err := w.DefineStream(format.StreamDef{Kind: format.StreamMemory, Name: "memory"})
	require.NoError(t, err)
	s, err := w.BeginSnapshot(format.SnapshotBegin{Stamp: format.Stamp{Stream: id}, Pages: 3})
	require.NoError(t, err)
	p, err := s.Spool()
	require.NoError(t, err)
	content := bytes.Repeat([]byte("kept"), 2*format.PageSize/4)
	require.NoError(t, p.Pages([]uint64{0, 2}, content))
	require.NoError(t, p.End(format.SnapshotEnd{Conditions: format.Conditions{Complete: true, Method: "full", Examined: 3, Changed: 2}}))
	require.NoError(t, f.Close()) // as a kill would
	require.NoError(t, spool.Close())

	r := xentape(t, "verify", path)
	require.Equal(t, exitVerification, r.code)
	require.Contains(t, r.out, "killed.xtape.spool, which salvage takes")
	saved := filepath.Join(dir, "saved.xtape")
	r = xentape(t, "salvage", path, "-o", saved)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.out, "2 pages of snapshot 1 come from its spool, and complete it")
	ok(t, "verify", saved)
	require.Contains(t, ok(t, "info", "--json", saved), `"complete":true`)

	other := filepath.Join(dir, "other.spool")
	require.NoError(t, os.WriteFile(other, []byte("not one, but long enough to be looked at"), 0o644))
	for spool, says := range map[string]string{other: "not a spool", dir: "is not a file", filepath.Join(dir, "none"): "no such file"} {
		r = xentape(t, "salvage", path, "-o", filepath.Join(dir, "not.xtape"), "--spool", spool)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.err, says)
		require.NoFileExists(t, filepath.Join(dir, "not.xtape"))
	}
	// One that lies beside the tape and is no good does not stand in the way.
	b, err := os.ReadFile(other)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+format.SpoolSuffix, b, 0o644))
	without := filepath.Join(dir, "without.xtape")
	r = xentape(t, "salvage", path, "-o", without)
	require.Equal(t, exitIncomplete, r.code)
	require.Contains(t, r.err, "without "+path+format.SpoolSuffix+": spool: not a spool")
	ok(t, "verify", without)
}

func TestProve(t *testing.T) {
	path, dir := tape(t)
	proof := filepath.Join(dir, "p.json")
	seq := lines(t, ok(t, "conns", "--json", path))[0]["first_record"].(float64)
	ok(t, "prove", path, "--record", strconv.Itoa(int(seq)), "-o", proof)
	require.NoError(t, os.Remove(path), "the proof stands without the tape")
	require.Equal(t, seq, lines(t, ok(t, "prove", "--check", proof))[0]["record"].(map[string]any)["Seq"])
	b, err := os.ReadFile(proof)
	require.NoError(t, err)
	i := bytes.Index(b, []byte(`"record": "`)) + 20
	b[i] ^= 1
	require.NoError(t, os.WriteFile(proof, b, 0o644))
	require.Equal(t, exitVerification, xentape(t, "prove", "--check", proof).code)
}

func TestProvePage(t *testing.T) {
	path, dir := tape(t)
	proof := filepath.Join(dir, "p.json")
	ok(t, "prove", path, "--snapshot", "xvda", "--page", "0x1", "-o", proof)
	require.NoError(t, os.Remove(path), "the proof stands without the tape")
	shown := lines(t, ok(t, "prove", "--check", proof))[0]
	require.Equal(t, float64(1), shown["snapshot"])
	require.Equal(t, float64(1), shown["page"])
	require.Contains(t, shown, "state")
	b, err := os.ReadFile(proof)
	require.NoError(t, err)
	b = bytes.Replace(b, []byte(`"page": 1`), []byte(`"page": 99999999`), 1)
	require.NoError(t, os.WriteFile(proof, b, 0o644))
	require.Equal(t, exitVerification, xentape(t, "prove", "--check", proof).code)
	require.Equal(t, exitUsage, xentape(t, "prove", path, "--snapshot", "1").code)
	require.Equal(t, exitUsage, xentape(t, "prove", path, "--snapshot", "1", "--page", "1", "--record", "1").code)
}

// TestProveOfARecording: a page of a real guest's memory, a block of its disk and a
// packet. A tape from before pages could be proved says so; its records can be.
func TestProveOfARecording(t *testing.T) {
	dir := t.TempDir()
	for name, what := range map[string][]string{
		"memory": {"--snapshot", "2", "--page", "0x1000"}, "disk": {"--snapshot", "xvda", "--page", "7"}, "record": {"--record", "1200"},
	} {
		proof := filepath.Join(dir, name)
		ok(t, append([]string{"prove", realGuest, "-o", proof}, what...)...)
		require.Contains(t, ok(t, "prove", "--check", proof), `"signature":"none"`)
	}
	require.Equal(t, streamOfKind(t, realGuest, "memory"), provenStream(t, filepath.Join(dir, "memory")), "info's #2 is one of memory")
	require.Equal(t, streamOfKind(t, realGuest, "disk"), provenStream(t, filepath.Join(dir, "disk")))
	for _, no := range []string{"0", "99", "#", "xvdz", "xvda#2", "xvda#x", "memory"} {
		require.Equal(t, exitFailed, xentape(t, "prove", realGuest, "--snapshot", no, "--page", "1").code, no)
	}
	old := "../../corpus/vectors/testdata/page-states.xtape"
	r := xentape(t, "prove", old, "--snapshot", "1", "--page", "1")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "format 1.0")
	ok(t, "prove", old, "--record", "1", "-o", filepath.Join(dir, "old"))
}

// streamOfKind is the id of a tape's first stream of a kind.
func streamOfKind(t *testing.T, path, kind string) any {
	for _, s := range lines(t, ok(t, "info", "--json", path))[0]["streams"].([]any) {
		if s := s.(map[string]any); s["kind"] == kind {
			return s["id"]
		}
	}
	require.Fail(t, "no such stream", kind)
	return nil
}

func provenStream(t *testing.T, proof string) any {
	return lines(t, ok(t, "prove", "--check", proof))[0]["stream"]
}

// TestAnalyzeIsDeterministic: every output has the same bytes on every run, with
// one processor and many, wherever the machine stands.
func TestAnalyzeIsDeterministic(t *testing.T) {
	small, dir := tape(t)
	local, procs := time.Local, runtime.GOMAXPROCS(0)
	defer func() { time.Local = local; runtime.GOMAXPROCS(procs) }()
	for i, path := range []string{small, shipped + "/web-intrusion/tape.xtape"} {
		var first map[string]string
		for n, zone := range map[int]string{1: "UTC", 2: "Asia/Kathmandu", 8: "America/St_Johns"} {
			var err error
			time.Local, err = time.LoadLocation(zone)
			require.NoError(t, err)
			t.Setenv("LC_ALL", "ar_EG.UTF-8")
			runtime.GOMAXPROCS(n)
			out := filepath.Join(dir, strconv.Itoa(i), strconv.Itoa(n))
			ok(t, "analyze", path, "-o", out)
			sums := hashes(t, out)
			if first == nil {
				first = sums
			}
			require.Equal(t, first, sums, "%s with %d processors", path, n)
		}
		require.Greater(t, len(first), 15)
	}
}

// hashes are those of all files of a folder.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	sums := map[string]string{}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		require.NoError(t, err)
		sums[n.Name()] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return sums
}

func TestCorpus(t *testing.T) {
	path, dir := tape(t)
	c := filepath.Join(dir, "corpus")
	out := xentape(t, "corpus", "add", "--name", "small", "--from", path, "--origin", "test", "--licence", "CC0-1.0", filepath.Join(c, "small"))
	require.Equal(t, exitFailed, out.code, "a tape without memory has no ps output: the case says which outputs it expects")
	require.NoError(t, os.RemoveAll(c))
	ok(t, "corpus", "add", "--name", "small", "--from", path, "--origin", "test", "--licence", "CC0-1.0", "--output", "files,conns,story", filepath.Join(c, "small"))
	require.Contains(t, ok(t, "corpus", "verify", c), "1 passed, 0 failed")
	require.Contains(t, ok(t, "corpus", "list", c), "small")

	exp := filepath.Join(c, "small", "expected", "files.jsonl")
	b, err := os.ReadFile(exp)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(exp, bytes.Replace(b, []byte(`"op":"create"`), []byte(`"op":"mkdir"`), 1), 0o644))
	r := xentape(t, "corpus", "verify", "--junit", filepath.Join(dir, "j.xml"), c)
	require.Equal(t, exitVerification, r.code)
	require.Contains(t, r.out, "files missing")
	require.Contains(t, ok(t, "corpus", "update", c), "findings changed")
	ok(t, "corpus", "verify", c)

	// A tape that cannot be used is no difference in what is found.
	require.NoError(t, os.Truncate(filepath.Join(c, "small", "tape.xtape"), 1000))
	r = xentape(t, "corpus", "verify", c)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.out, "pinned")
	require.Contains(t, r.err, "1 of 1 cases could not be run")
}

func TestTerminalShowsNoControlCharacters(t *testing.T) {
	require.Equal(t, `a\x1b[31mb`, printable("a\x1b[31mb"))
	require.Equal(t, `a\u202eb`, printable("a\u202eb"))
	require.Equal(t, "schön", printable("schön"))
	require.Equal(t, `say "hi"\n`, printable("say \"hi\"\n"))
}
