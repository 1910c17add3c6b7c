package network

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/format"
)

// TestWriteGenerated leaves the benchmark's capture at XENTAPE_GENERATED, for
// measuring other programs on it.
func TestWriteGenerated(t *testing.T) {
	to := os.Getenv("XENTAPE_GENERATED")
	if to == "" {
		t.Skip("set XENTAPE_GENERATED to a file name to write the capture of BenchmarkCapture there")
	}
	path, _ := generated(t, 2_000_000, 39_000)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o644))
}

// feedFile feeds a generated capture in the order of the file, mapped into memory
// so that reading it costs little.
func feedFile(path string, yield func(*format.Packet) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Munmap(b) }()
	p := format.Packet{LinkType: 1}
	for rest, seq := b[24:], uint64(1); len(rest) >= 16; seq++ {
		n := int(binary.LittleEndian.Uint32(rest[8:]))
		p.Stamp = format.Stamp{Seq: seq, Stream: 1, Time: int64(binary.LittleEndian.Uint32(rest))*1e9 + int64(binary.LittleEndian.Uint32(rest[4:]))*1e3}
		p.OrigLen, p.Data = uint32(n), rest[16:16+n]
		if err := yield(&p); err != nil {
			return err
		}
		rest = rest[16+n:]
	}
	return nil
}

// cpuSeconds is the processor time used so far, which other work on the machine
// does not change.
func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkCapture measures packets per second on the generated capture (the one
// XENTAPE_GENERATED names, if set), the reading of the file included, and the
// memory held.
func BenchmarkCapture(b *testing.B) {
	path, packets := os.Getenv("XENTAPE_GENERATED"), 0
	if path == "" {
		path, packets = generated(b, 2_000_000, 39_000)
	} else {
		require.NoError(b, feedFile(path, func(*format.Packet) error { packets++; return nil }))
	}
	for _, o := range []struct {
		name string
		Options
	}{
		{"conns", Options{}},
		{"content", Options{Content: true}},
		{"content-2-workers", Options{Content: true, Workers: 2}},
	} {
		b.Run(o.name, func(b *testing.B) {
			cpu := cpuSeconds()
			for b.Loop() {
				a := New(o.Options)
				require.NoError(b, feedFile(path, func(p *format.Packet) error { return a.Feed(p) }))
				require.NoError(b, a.Finish())
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-live")
				b.ReportMetric(float64(m.Sys)/1e6, "MB-sys")
				runtime.KeepAlive(a)
			}
			b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpkt/s")
			b.ReportMetric(float64(packets)*float64(b.N)/(cpuSeconds()-cpu)/1e6, "Mpkt/cpu-s")
		})
	}
}
