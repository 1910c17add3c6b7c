package foreign

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// start is when the test captures begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

type seen struct {
	iface format.StreamID
	time  int64
	size  int
	orig  uint32
	data  string
}

func readAll(t testing.TB, b []byte) (got []seen, damage []error, p *Packets) {
	t.Helper()
	p, err := OpenPackets(bytes.NewReader(b), "test")
	require.NoError(t, err)
	for k, err := range p.All() {
		if err != nil {
			damage = append(damage, err)
			continue
		}
		got = append(got, seen{k.Stream, k.Time, len(k.Data), k.OrigLen, string(k.Data)})
	}
	return got, damage, p
}

// wire is n packets of different sizes a millisecond apart.
func wire(n int) []seen {
	rng := rand.New(rand.NewSource(2))
	out := make([]seen, n)
	for i := range out {
		data := make([]byte, 60+rng.Intn(1400))
		rng.Read(data)
		out[i] = seen{1, start.UnixNano() + int64(i)*1e6, len(data), uint32(len(data)), string(data)}
	}
	return out
}

func pcapOf(packets []seen, nanos bool) []byte {
	var b buffer
	magic, unit := uint32(0xa1b2c3d4), int64(1000)
	if nanos {
		magic, unit = 0xa1b23c4d, 1
	}
	b.put(magic, uint16(2), uint16(4), uint32(0), uint32(0), uint32(65535), uint32(1))
	for _, s := range packets {
		b.put(uint32(s.time/1e9), uint32(s.time%1e9/unit), uint32(s.size), s.orig, s.data)
	}
	return b.Bytes()
}

func pcapngOf(packets []seen) []byte {
	var b bytes.Buffer
	b.Write(section())
	b.Write(ngInterface(option16(9, []byte{9})))
	for _, s := range packets {
		b.Write(enhanced(uint32(s.iface-1), uint64(s.time), s.data))
	}
	return b.Bytes()
}

func micros(packets []seen) []seen {
	var out []seen
	for _, s := range packets {
		s.time -= s.time % 1000
		out = append(out, s)
	}
	return out
}

func compressed(t testing.TB, b []byte) (gz, zs []byte) {
	var g, z bytes.Buffer
	gw := gzip.NewWriter(&g)
	_, err := gw.Write(b)
	require.NoError(t, errors.Join(err, gw.Close()))
	zw, err := zstd.NewWriter(&z)
	require.NoError(t, err)
	_, err = zw.Write(b)
	require.NoError(t, errors.Join(err, zw.Close()))
	return g.Bytes(), z.Bytes()
}

func TestEveryCaptureFormatReadsBackWhatWasWritten(t *testing.T) {
	packets := wire(3000) // several buffers' worth
	nanos := pcapOf(packets, true)
	gz, zs := compressed(t, nanos)
	for name, c := range map[string]struct {
		file []byte
		want []seen
	}{
		"pcap ns": {nanos, packets}, "pcap us": {pcapOf(packets, false), micros(packets)},
		"pcapng": {pcapngOf(packets), packets}, "gzip": {gz, packets}, "zstd": {zs, packets},
		"big-endian pcap": {bigEndianPcap(nanos), packets},
	} {
		got, damage, p := readAll(t, c.file)
		require.Empty(t, damage, name)
		require.Equal(t, c.want, got, name)
		require.Equal(t, uint16(1), p.Interfaces()[0].LinkType, name)
	}
}

// bigEndianPcap turns every header of a little-endian pcap.
func bigEndianPcap(b []byte) []byte {
	turn := func(out []byte, in []byte) []byte { return binary.BigEndian.AppendUint32(out, le.Uint32(in)) }
	out := turn(nil, b)
	out = binary.BigEndian.AppendUint16(out, le.Uint16(b[4:]))
	out = binary.BigEndian.AppendUint16(out, le.Uint16(b[6:]))
	for i := 8; i < 24; i += 4 {
		out = turn(out, b[i:])
	}
	for b = b[24:]; len(b) > 0; {
		n := int(le.Uint32(b[8:]))
		for i := 0; i < 16; i += 4 {
			out = turn(out, b[i:])
		}
		out = append(out, b[16:16+n]...)
		b = b[16+n:]
	}
	return out
}

func option16(code uint16, v []byte) []byte {
	var b buffer
	b.put(code, uint16(len(v)), v)
	b.align(4)
	return b.Bytes()
}

func ngBlock(kind uint32, body []byte) []byte {
	var b buffer
	n := uint32(len(body)+3)&^3 + 12
	b.put(kind, n, body)
	b.align(4)
	b.put(n)
	return b.Bytes()
}

func section() []byte {
	return ngBlock(0x0a0d0d0a, append(le.AppendUint32(nil, 0x1a2b3c4d), 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255))
}

func ngInterface(options ...[]byte) []byte {
	return ngBlock(1, append([]byte{1, 0, 0, 0, 0, 0, 4, 0}, bytes.Join(options, nil)...))
}

func enhanced(iface uint32, ts uint64, data string, options ...[]byte) []byte {
	var b buffer
	b.put(iface, uint32(ts>>32), uint32(ts), uint32(len(data)), uint32(len(data)), data)
	b.align(4)
	b.put(bytes.Join(options, nil))
	return ngBlock(6, b.Bytes())
}

func TestPcapngOptions(t *testing.T) {
	u64 := func(v uint64) []byte { return le.AppendUint64(nil, v) }
	file := bytes.Join([][]byte{
		section(),
		ngInterface(option16(2, []byte("vif3.0")), option16(9, []byte{9}), option16(14, u64(100))),
		ngInterface(option16(9, []byte{0x80 | 10})), // units of 1/1024 s
		ngBlock(10, append([]byte{0x4b, 0x53, 0x4c, 0x54, 3, 0, 0, 0}, "key"...)),
		enhanced(0, 7, "one", option16(1, []byte("curl/812")), option16(2, []byte{2, 0, 0, 0}), option16(1, []byte("second"))),
		enhanced(1, 3*1024+512, "two", option16(2, []byte{1, 0, 0, 0}), option16(4, u64(5))),
		ngBlock(3, append([]byte{9, 0, 0, 0}, "simple pk"...)),
		ngBlock(5, bytes.Join([][]byte{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, option16(5, u64(17))}, nil)),
		section(), ngInterface(), enhanced(0, 1, "other section"),
	}, nil)
	p, err := OpenPackets(bytes.NewReader(file), "test")
	require.NoError(t, err)
	want := []format.Packet{
		{Stamp: format.Stamp{Stream: 1, Time: 100e9 + 7}, LinkType: 1, Direction: format.FromGuest, OrigLen: 3, Comment: "curl/812\nsecond", Data: []byte("one")},
		{Stamp: format.Stamp{Stream: 2, Time: 3.5e9, Uncertainty: 976562}, LinkType: 1, Direction: format.ToGuest, OrigLen: 3, Data: []byte("two")},
		{Stamp: format.Stamp{Stream: 1, Uncertainty: ^uint32(0)}, LinkType: 1, OrigLen: 9, Data: []byte("simple pk")},
		{Stamp: format.Stamp{Stream: 3, Time: 1000, Uncertainty: 999}, LinkType: 1, OrigLen: 13, Data: []byte("other section")},
	}
	for i := range want {
		k, err := p.Next()
		require.NoError(t, err)
		require.Equal(t, want[i], *k)
	}
	_, err = p.Next()
	require.Equal(t, io.EOF, err)
	require.Equal(t, []Secrets{{0x544c534b, []byte("key")}}, p.Secrets())
	require.Equal(t, "vif3.0", p.Interfaces()[0].Name)
	require.Equal(t, uint64(17), p.Interfaces()[0].Dropped)
	require.Equal(t, uint64(5), p.Interfaces()[1].Dropped)
}

// A damaged record costs itself, not the rest of the file.
func TestDamageIsPassedOver(t *testing.T) {
	packets := wire(50)
	for name, file := range map[string][]byte{"pcap": pcapOf(packets, true), "pcapng": pcapngOf(packets)} {
		at := bytes.Index(file, []byte(packets[20].data))
		length := at - 8 // caplen of a pcap record header
		if name == "pcapng" {
			length = at - 24 // block total length
		}
		bad := bytes.Clone(file)
		le.PutUint32(bad[length:], 0xfffffff0)
		got, damage, _ := readAll(t, bad)
		require.Len(t, damage, 1, name)
		require.ErrorIs(t, damage[0], ErrDamaged, name)
		require.Equal(t, append(append([]seen(nil), packets[:20]...), packets[21:]...), got, name)
	}
}

func TestTruncatedCapture(t *testing.T) {
	packets := wire(10)
	for name, file := range map[string][]byte{"pcap": pcapOf(packets, true), "pcapng": pcapngOf(packets)} {
		got, damage, _ := readAll(t, file[:len(file)-7])
		require.Len(t, damage, 1, name)
		require.ErrorContains(t, damage[0], "the file ends in the midst of", name)
		require.Equal(t, packets[:9], got, name)
	}
	gz, _ := compressed(t, pcapOf(packets, true))
	_, damage, _ := readAll(t, gz[:len(gz)-100])
	require.Len(t, damage, 1)
	require.ErrorIs(t, damage[0], io.ErrUnexpectedEOF)
}

// Packets longer than the snap length the file declares are read, as tcpdump does.
func TestLongerThanSnapLen(t *testing.T) {
	packets := wire(3)
	file := pcapOf(packets, true)
	le.PutUint32(file[16:], 40)
	got, damage, _ := readAll(t, file)
	require.Empty(t, damage)
	require.Equal(t, packets, got)
}

func TestOldVersionsSwapLengths(t *testing.T) {
	packets := wire(3)
	file := pcapOf(packets, true)
	le.PutUint16(file[6:], 2)
	at := 24
	for i := range packets {
		packets[i].orig += 100
		n := int(le.Uint32(file[at+8:]))
		le.PutUint32(file[at+8:], uint32(n+100))
		le.PutUint32(file[at+12:], uint32(n))
		at += 16 + n
	}
	got, damage, _ := readAll(t, file)
	require.Empty(t, damage)
	require.Equal(t, packets, got)
}

func TestNotACapture(t *testing.T) {
	for _, s := range []string{"", "abc", "#!/bin/sh\necho 1234567890 1234567890\n", "\x0a\x0d\x0d\x0a\x00\x00\x00\x1c not a byte order 123456", "\x1f\x8b nothing"} {
		_, err := OpenPackets(bytes.NewReader([]byte(s)), "x")
		require.Error(t, err)
	}
}

func FuzzPackets(f *testing.F) {
	f.Add(pcapOf(wire(3), false))
	f.Add(bigEndianPcap(pcapOf(wire(2), true)))
	f.Add(pcapngOf(wire(3)))
	f.Add(bytes.Join([][]byte{section(), ngInterface(option16(9, []byte{0x8a})), enhanced(0, 9, "x", option16(1, []byte("c")))}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if hasPrefix(b, "\x1f\x8b") || hasPrefix(b, "\x28\xb5") {
			return // the decompressors are others' to fuzz
		}
		p, err := OpenPackets(bytes.NewReader(b), "fuzz")
		if err != nil {
			return
		}
		total, last := 0, error(nil)
		for k, err := range p.All() {
			require.True(t, last == nil || errors.Is(last, ErrDamaged), "an element after the last")
			last = err
			if err != nil {
				continue
			}
			require.True(t, k.Stream >= 1 && int(k.Stream) <= len(p.Interfaces()))
			require.Equal(t, p.Interfaces()[k.Stream-1].LinkType, k.LinkType)
			total += len(k.Data)
		}
		require.LessOrEqual(t, total, len(b), "bytes are read once")
	})
}

// Every capture of the public collections, against what capinfos counts in it.
// capinfos stops at the first damage, this reader does not.
func TestPublicCaptures(t *testing.T) {
	dir := dataDir(t, "network")
	var paths []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".pcap", ".trace", ".pcapng", ".cap":
			paths = append(paths, path)
		}
		return err
	}))
	require.NotEmpty(t, paths)
	out, _ := exec.Command("capinfos", append([]string{"-T", "-M", "-r", "-c", "-d"}, paths...)...).Output()
	counts := map[string]string{}
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Split(line, "\t"); len(f) == 3 {
			counts[f[0]] = f[1] + " " + f[2]
		}
	}
	require.NotEmpty(t, counts, "capinfos (Debian package wireshark-common) gave nothing")
	compared := 0
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		p, err := OpenPackets(bytes.NewReader(b), path)
		require.NoError(t, err)
		packets, wire, damage := 0, 0, 0
		for k, err := range p.All() {
			if err != nil {
				damage++
				t.Log(err)
				continue
			}
			packets++
			wire += int(k.OrigLen)
		}
		want, ok := counts[path]
		if !ok || damage > 0 {
			t.Logf("%s: %d packets, %d stretches damaged; capinfos: %q", path, packets, damage, want)
			continue
		}
		compared++
		require.Equal(t, want, fmt.Sprintf("%d %d", packets, wire), path)
	}
	t.Logf("%d of %d files equal", compared, len(paths))
}

// BenchmarkPackets is small packets from memory: ns/op is for one packet.
func BenchmarkPackets(b *testing.B) {
	packets := make([]seen, 100000)
	for i := range packets {
		packets[i] = seen{1, start.UnixNano() + int64(i), 90, 90, string(make([]byte, 90))}
	}
	for name, file := range map[string][]byte{"pcap": pcapOf(packets, true), "pcapng": pcapngOf(packets)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; {
				p, err := OpenPackets(bytes.NewReader(file), "bench")
				require.NoError(b, err)
				for ; n < b.N; n++ {
					if _, err := p.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}
