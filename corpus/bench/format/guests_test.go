package format

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	tape "github.com/xentape/xentape/format"
)

const shippedTape = "../../tapes/web-intrusion/tape.xtape"

// guest is a guest's memory at successive moments.
type guest struct {
	name   string
	images func(testing.TB) [][]byte
}

// guests are the series to measure with. XENTAPE_DATA adds one.
func guests() []guest {
	gs := []guest{{"xen-guest", shippedImages}, {"made", madeImages}}
	if os.Getenv("XENTAPE_DATA") != "" {
		gs = append(gs, guest{"debian12", dataImages})
	}
	return gs
}

// shippedImages are those of a web server on a Xen host, before, during and after
// an intrusion: the memory in the tape that ships.
func shippedImages(b testing.TB) (out [][]byte) {
	f, err := os.Open(shippedTape)
	require.NoError(b, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(b, err)
	r, err := tape.Open(f, st.Size(), tape.ReaderOptions{})
	require.NoError(b, err)
	kind := map[tape.StreamID]tape.StreamKind{}
	for _, d := range r.Streams() {
		kind[d.ID] = d.Kind
	}
	for _, info := range r.Snapshots() {
		if kind[info.Begin.Stream] != tape.StreamMemory {
			continue
		}
		s, err := r.Snapshot(info.Begin.ID)
		require.NoError(b, err)
		img := make([]byte, info.Begin.Pages*PageSize)
		for n := range info.Begin.Pages {
			_, err := s.ReadPage(n, img[n*PageSize:])
			require.NoError(b, err)
		}
		out = append(out, img)
	}
	require.Greater(b, len(out), 2)
	return out
}

// madeImages are made of this machine's files, in the shares of change measured
// on a Debian 12 guest with 2 GiB after 1, 10 and 300 seconds.
func madeImages(b testing.TB) (out [][]byte) {
	s := series(b, 256<<20)
	out = append(out, bytes.Clone(s.Image))
	for _, step := range []struct{ heap, cache float64 }{{0.2, 0.002}, {0.5, 0.015}, {0.6, 0.02}} {
		s.Advance(step.heap, step.cache)
		out = append(out, bytes.Clone(s.Image))
	}
	return out
}

// dataImages are those of the Debian 12 guest of the test data.
func dataImages(b testing.TB) (out [][]byte) {
	for _, n := range []string{"t1", "t2", "t3"} {
		img, err := os.ReadFile(filepath.Join(os.Getenv("XENTAPE_DATA"), "memory", "deb12-6.1."+n+".elf"))
		require.NoError(b, err, "XENTAPE_DATA is set")
		out = append(out, img[:len(img)/PageSize*PageSize])
	}
	return out
}

func series(b testing.TB, size int) *Series {
	b.Helper()
	toolchain, err := exec.Command("go", "env", "GOROOT", "GOTOOLDIR").Output()
	require.NoError(b, err)
	lines := strings.Fields(string(toolchain))
	dirs := []string{"/usr/bin"}
	for _, libraries := range []string{"/usr/lib/*-linux-gnu*", "/usr/lib/gcc/*/*"} {
		found, err := filepath.Glob(libraries)
		require.NoError(b, err)
		dirs = append(dirs, found...)
	}
	s, err := NewSeries(size, append(dirs, filepath.Join(lines[0], "bin"), "/usr/sbin", lines[1])...)
	require.NoError(b, err, "the images are made of this machine's files")
	return s
}

func nonZero(imgs ...[]byte) (n int64) {
	zero := make([]byte, PageSize)
	for _, img := range imgs {
		for o := 0; o < len(img); o += PageSize {
			if !bytes.Equal(img[o:o+PageSize], zero) {
				n += PageSize
			}
		}
	}
	return n
}
