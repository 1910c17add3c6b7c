package network

import (
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xentape/xentape/corpus/need"
	"github.com/xentape/xentape/format"
)

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

// peers are what analysts run today on the same file: the closest each has to
// connection records.
var peers = []struct {
	name, debian string
	args         []string
}{
	{"tshark", "tshark", []string{"-n", "-q", "-z", "conv,tcp", "-r"}},
	{"argus", "argus-server", []string{"-w", "/dev/null", "-r"}},
}

// BenchmarkCapture measures packets per second of processor time on the generated
// capture, the reading of the file included, and the memory held; then tshark and
// argus on the same file, and how many times faster than they full connection
// records were in this run.
func BenchmarkCapture(b *testing.B) {
	path, packets := generated(b, 2_000_000, 39_000)
	cost := 0.0 // s of processor time a run of connection records
	for _, o := range []struct {
		name string
		Options
	}{
		{"conns", Options{}},
		{"content", Options{Content: true}},
		{"content-2-workers", Options{Content: true, Workers: 2}},
	} {
		b.Run(o.name, func(b *testing.B) {
			// One worker's figure is one core's: the collector shares it, and does not
			// slow it from the core's other thread.
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(1, o.Workers)))
			used, top := benchAnalyzer(b, path, o.Options)
			if o.name == "conns" {
				cost = used / float64(b.N)
			}
			b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpkt/s")
			b.ReportMetric(float64(packets)*float64(b.N)/used/1e6, "Mpkt/cpu-s")
			b.ReportMetric(top, "MB-sys")
		})
	}
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			program := need.Tool(b, p.debian, p.name)
			used := 0.0
			for b.Loop() {
				run := exec.Command(program, append(p.args, path)...)
				require.NoError(b, run.Run())
				used += (run.ProcessState.UserTime() + run.ProcessState.SystemTime()).Seconds()
			}
			b.ReportMetric(float64(packets)*float64(b.N)/used/1e6, "Mpkt/cpu-s")
			if cost > 0 {
				b.ReportMetric(used/float64(b.N)/cost, "x-slower-than-conns")
			}
		})
	}
}

// benchAnalyzer returns the processor time used, and the most memory the runtime
// had of the system, MB.
func benchAnalyzer(b *testing.B, path string, o Options) (used, top float64) {
	cpu := cpuSeconds()
	for b.Loop() {
		a := New(o)
		require.NoError(b, feedFile(path, func(p *format.Packet) error { return a.Feed(p) }))
		require.NoError(b, a.Finish())
		b.StopTimer()
		used += cpuSeconds() - cpu
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		top = max(top, float64(m.Sys)/1e6)
		runtime.KeepAlive(a)
		runtime.GC()
		cpu = cpuSeconds()
		b.StartTimer()
	}
	return used, top
}
