package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	tape "github.com/xentape/xentape/format"
)

const imageSize = 256 << 20

// image is one memory image to measure with: the Debian 12 guest of the test
// data where XENTAPE_DATA names it, a made one elsewhere.
func image(b testing.TB) []byte {
	b.Helper()
	if dir := os.Getenv("XENTAPE_DATA"); dir != "" {
		img, err := os.ReadFile(filepath.Join(dir, "memory", "deb12-6.1.t3.elf"))
		require.NoError(b, err, "XENTAPE_DATA is set")
		return img[:len(img)/PageSize*PageSize]
	}
	return series(b, imageSize).Image
}

func series(b testing.TB, size int) *Series {
	b.Helper()
	s, err := NewSeries(size, "/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/gcc/x86_64-linux-gnu/12", "/usr/local/go/bin", "/usr/sbin", "/usr/local/go/pkg/tool/linux_amd64")
	if err != nil {
		b.Skipf("the images are made of this machine's files: %v", err)
	}
	return s
}

func nonZero(img []byte) int64 {
	var n int64
	zero := make([]byte, PageSize)
	for o := 0; o < len(img); o += PageSize {
		if !bytes.Equal(img[o:o+PageSize], zero) {
			n += PageSize
		}
	}
	return n
}

func writeTape(b testing.TB, w io.Writer, img []byte, o tape.WriterOptions) {
	t, err := tape.NewWriter(w, o)
	require.NoError(b, err)
	mem, err := t.DefineStream(tape.StreamDef{Kind: tape.StreamMemory, Name: "memory"})
	require.NoError(b, err)
	writeSnapshot(b, t, mem, 0, img)
	require.NoError(b, t.Seal())
}

func writeSnapshot(b testing.TB, t *tape.Writer, mem tape.StreamID, parent uint32, img []byte) uint32 {
	s, err := t.BeginSnapshot(tape.SnapshotBegin{Stamp: tape.Stamp{Stream: mem}, Parent: parent, Pages: uint64(len(img) / PageSize)})
	require.NoError(b, err)
	for n := range len(img) / PageSize {
		if err := s.Page(uint64(n), img[n*PageSize:][:PageSize]); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, s.End(tape.SnapshotEnd{Conditions: tape.Conditions{Complete: true}}))
	return s.ID()
}

// writeLog is the peer: pages that are not zero in 1 MiB chunks, compressed with
// the same codec on as many cores, each with its length and checksum.
func writeLog(b testing.TB, w io.Writer, img []byte, workers int) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(workers))
	require.NoError(b, err)
	zero := make([]byte, PageSize)
	queue := make(chan chan []byte, 2*workers)
	done := make(chan error)
	go func() {
		var err error
		for c := range queue {
			out := <-c
			var h [8]byte
			binary.LittleEndian.PutUint32(h[:], uint32(len(out)))
			binary.LittleEndian.PutUint32(h[4:], crc32.ChecksumIEEE(out))
			if _, werr := w.Write(append(h[:], out...)); werr != nil {
				err = werr
			}
		}
		done <- err
	}()
	slots := make(chan struct{}, workers)
	flush := func(chunk []byte) {
		c := make(chan []byte, 1)
		slots <- struct{}{}
		queue <- c
		go func() {
			c <- e.EncodeAll(chunk, make([]byte, 0, len(chunk)/2))
			<-slots
		}()
	}
	chunk := make([]byte, 0, 1<<20)
	for o := 0; o < len(img); o += PageSize {
		p := img[o : o+PageSize]
		if bytes.Equal(p, zero) {
			continue
		}
		chunk = append(chunk, p...)
		if len(chunk) == 1<<20 {
			flush(chunk)
			chunk = make([]byte, 0, 1<<20)
		}
	}
	if len(chunk) > 0 {
		flush(chunk)
	}
	close(queue)
	require.NoError(b, <-done)
}

func readLog(b testing.TB, r io.Reader) (n int64) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(b, err)
	var h [8]byte
	buf := make([]byte, 2<<20)
	for {
		if _, err := io.ReadFull(r, h[:]); err == io.EOF {
			return n
		}
		in := buf[:binary.LittleEndian.Uint32(h[:])]
		_, err := io.ReadFull(r, in)
		require.NoError(b, err)
		require.Equal(b, binary.LittleEndian.Uint32(h[4:]), crc32.ChecksumIEEE(in))
		out, err := d.DecodeAll(in, make([]byte, 0, 1<<20))
		require.NoError(b, err)
		n += int64(len(out))
	}
}

// BenchmarkWrite: a tape (deduplicating, hashing, building the tree), with and
// without sealing, beside a plain log. MB/s are of pages that are not zero.
func BenchmarkWrite(b *testing.B) {
	img := image(b)
	size := nonZero(img)
	id, err := age.GenerateX25519Identity()
	require.NoError(b, err)
	for _, cores := range []int{1, 2} {
		old := runtime.GOMAXPROCS(cores)
		for _, c := range []struct {
			name string
			run  func(io.Writer)
		}{
			{"tape", func(w io.Writer) { writeTape(b, w, img, tape.WriterOptions{Workers: cores}) }},
			{"sealed", func(w io.Writer) {
				writeTape(b, w, img, tape.WriterOptions{Workers: cores, Recipients: []age.Recipient{id.Recipient()}})
			}},
			{"log", func(w io.Writer) { writeLog(b, w, img, cores) }},
		} {
			b.Run(fmt.Sprintf("%s/cores=%d", c.name, cores), func(b *testing.B) {
				var n counter
				perCore(b, size, func() {
					n = 0
					c.run(&n)
				})
				b.ReportMetric(float64(size)/float64(n), "ratio")
			})
		}
		runtime.GOMAXPROCS(old)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// BenchmarkRead on one core: every page through ReadPage; Verify, which hashes
// and decodes everything; and the plain log.
func BenchmarkRead(b *testing.B) {
	img := image(b)
	size := nonZero(img)
	var buf, log bytes.Buffer
	writeTape(b, &buf, img, tape.WriterOptions{})
	writeLog(b, &log, img, 1)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b.Run("tape", func(b *testing.B) {
		page := make([]byte, PageSize)
		perCore(b, size, func() {
			r, err := tape.Open(bytes.NewReader(buf.Bytes()), int64(buf.Len()), tape.ReaderOptions{})
			require.NoError(b, err)
			s, err := r.Snapshot(1)
			require.NoError(b, err)
			for _, e := range s.Extents() {
				for n := e.Start; n < e.Start+e.Count; n++ {
					if _, err := s.ReadPage(n, page); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	})
	b.Run("verify", func(b *testing.B) {
		perCore(b, size, func() {
			v, err := tape.Verify(bytes.NewReader(buf.Bytes()), int64(buf.Len()), tape.VerifyOptions{})
			require.NoError(b, err)
			require.True(b, v.OK)
		})
	})
	b.Run("log", func(b *testing.B) {
		perCore(b, size, func() { readLog(b, bytes.NewReader(log.Bytes())) })
	})
}

// TestImagesComeBack guards the benchmark's own reading: what is measured is right.
func TestImagesComeBack(t *testing.T) {
	s := series(t, 8<<20)
	var buf bytes.Buffer
	w, err := tape.NewWriter(&buf, tape.WriterOptions{})
	require.NoError(t, err)
	mem, err := w.DefineStream(tape.StreamDef{Kind: tape.StreamMemory})
	require.NoError(t, err)
	var sums [][32]byte
	var parent uint32
	for range 4 {
		sums = append(sums, sha256.Sum256(s.Image))
		parent = writeSnapshot(t, w, mem, parent, s.Image)
		s.Advance(0.3, 0.02)
	}
	require.NoError(t, w.Seal())
	r, err := tape.Open(bytes.NewReader(buf.Bytes()), int64(buf.Len()), tape.ReaderOptions{})
	require.NoError(t, err)
	for i, want := range sums {
		snap, err := r.Snapshot(uint32(i + 1))
		require.NoError(t, err)
		h := sha256.New()
		page := make([]byte, PageSize)
		for n := range len(s.Image) / PageSize {
			_, err := snap.ReadPage(uint64(n), page)
			require.NoError(t, err)
			h.Write(page)
		}
		require.Equal(t, want[:], h.Sum(nil))
	}
}
