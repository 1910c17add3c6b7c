package format

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	tape "github.com/xentape/xentape/format"
)

// writeTape writes a series as a recorder does: each image against the one before.
func writeTape(b testing.TB, w io.Writer, o tape.WriterOptions, imgs ...[]byte) {
	t, err := tape.NewWriter(w, o)
	require.NoError(b, err)
	mem, err := t.DefineStream(tape.StreamDef{Kind: tape.StreamMemory, Name: "memory"})
	require.NoError(b, err)
	var parent uint32
	for _, img := range imgs {
		parent = writeSnapshot(b, t, mem, parent, img)
	}
	require.NoError(b, t.Seal())
}

func writeSnapshot(b testing.TB, t *tape.Writer, mem tape.StreamID, parent uint32, img []byte) uint32 {
	s, err := t.BeginSnapshot(tape.SnapshotBegin{Stamp: tape.Stamp{Stream: mem}, Parent: parent, Pages: uint64(len(img) / PageSize)})
	require.NoError(b, err)
	pages := make([]uint64, len(img)/PageSize)
	for n := range pages {
		pages[n] = uint64(n)
	}
	require.NoError(b, s.Pages(pages, img))
	require.NoError(b, s.End(tape.SnapshotEnd{Conditions: tape.Conditions{Complete: true}}))
	return s.ID()
}

// BenchmarkWrite: a series as a tape (each page hashed and stored once, changes
// as differences, every chunk in the tree) beside a plain log of the same pages. Where
// "on-2-cores" is low and "%-idle-on-2-cores" is, too, something else had the machine.
func BenchmarkWrite(b *testing.B) {
	id, err := age.GenerateX25519Identity()
	require.NoError(b, err)
	for _, g := range guests() {
		b.Run(g.name, func(b *testing.B) {
			imgs := g.images(b)
			for b.Loop() {
				writeContest(b, imgs, id.Recipient(), "tape/log")
			}
		})
		// One image alone: nothing has been there before.
		b.Run(g.name+"-first-image", func(b *testing.B) {
			imgs := g.images(b)[:1]
			for b.Loop() {
				writeContest(b, imgs, id.Recipient(), "tape/log")
			}
		})
	}
}

func writeContest(b *testing.B, imgs [][]byte, to age.Recipient, ratio string) {
	size := nonZero(imgs...)
	var n, sealed, log counter
	plain := tape.WriterOptions{Workers: 1}
	secret := tape.WriterOptions{Workers: 1, Recipients: []age.Recipient{to}}
	cs := []contestant{
		{"tape", 1, func() { n = 0; writeTape(b, &n, plain, imgs...) }},
		{"plain zstd log", 1, func() { log = 0; writeLog(b, &log, 1, imgs...) }},
		{"tape ", 2, func() { writeTape(b, io.Discard, tape.WriterOptions{Workers: 2}, imgs...) }},
		{"plain zstd log ", 2, func() { writeLog(b, io.Discard, 2, imgs...) }},
	}
	best := contest(cs)
	board(b, size, cs, best)
	share := compare(func() { sealed = 0; writeTape(b, &sealed, secret, imgs...) }, func() { writeTape(b, io.Discard, plain, imgs...) })
	b.ReportMetric(speed(size, best["tape"].cpu), "MB/cpu-s")
	b.ReportMetric(best["plain zstd log"].cpu.Seconds()/best["tape"].cpu.Seconds(), ratio)
	b.ReportMetric(best["tape"].wall.Seconds()/best["tape "].wall.Seconds(), "on-2-cores")
	b.ReportMetric(100*best["tape "].idle, "%-idle-on-2-cores")
	b.ReportMetric(100*share, "%-sealing")
	b.ReportMetric(float64(size)/float64(n), "stored-1:")
	b.ReportMetric(float64(size)/float64(log), "log-1:")
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// BenchmarkRead, on one core, in bytes of the guest's memory for a second of CPU.
//
// Decoding with verification is reading pages of which each chunk, before it is
// decompressed, was compared with its hash in the Merkle log, whose root in the footer
// was compared before: "what changed", as an analyzer reads a series who has seen the
// image before, and "each image whole", for which chunks that there is no room for in
// the reader's 256 MiB are opened again ("whole-times-read" says how often).
// Verify is more: it also compares every page with what its chunk commits itself to.
// Beside them the plain log, from which every image has to be read whole, and the zstd
// and SHA-256 in them alone, on the same chunks: no reader can be faster.
func BenchmarkRead(b *testing.B) {
	for _, g := range guests() {
		b.Run(g.name, func(b *testing.B) {
			imgs := g.images(b)
			for b.Loop() {
				readContest(b, imgs)
			}
		})
	}
}

func readContest(b *testing.B, imgs [][]byte) {
	const changed, whole, verify, log = "tape, what changed", "tape, each image whole", "tape, Verify", "plain zstd log"
	const once, all = "zstd, SHA-256 of chunks alone", "zstd, SHA-256 of Verify alone"
	size := nonZero(imgs...)
	var buf, plain bytes.Buffer
	writeTape(b, &buf, tape.WriterOptions{}, imgs...)
	writeLog(b, &plain, 1, imgs...)
	t := counting{ReaderAt: bytes.NewReader(buf.Bytes())}
	cs := []contestant{
		{changed, 1, func() { readTape(b, &t, buf.Len(), true) }},
		{once, 1, func() { bare(b, buf.Bytes(), false) }},
		{verify, 1, func() { verifyTape(b, buf.Bytes()) }},
		{all, 1, func() { bare(b, buf.Bytes(), true) }},
		{whole, 1, func() { t.n = 0; readTape(b, &t, buf.Len(), false) }},
		{log, 1, func() { require.Equal(b, size, readLog(b, bytes.NewReader(plain.Bytes()))) }},
	}
	best := contest(cs)
	board(b, size, cs, best)
	b.ReportMetric(speed(size, best[changed].cpu), "changed-MB/cpu-s")
	b.ReportMetric(speed(size, best[whole].cpu), "whole-MB/cpu-s")
	b.ReportMetric(float64(t.n)/float64(buf.Len()), "whole-times-read")
	b.ReportMetric(speed(size, best[verify].cpu), "Verify-MB/cpu-s")
	b.ReportMetric(100*best[all].cpu.Seconds()/best[verify].cpu.Seconds(), "Verify-%-of-possible")
	b.ReportMetric(best[log].cpu.Seconds()/best[changed].cpu.Seconds(), "changed/log")
	b.ReportMetric(best[log].cpu.Seconds()/best[whole].cpu.Seconds(), "whole/log")
}

func verifyTape(b testing.TB, t []byte) {
	v, err := tape.Verify(bytes.NewReader(t), int64(len(t)), tape.VerifyOptions{})
	require.NoError(b, err)
	require.True(b, v.OK)
}

// readTape reads every snapshot, or, after the first, only what changed.
func readTape(b testing.TB, t io.ReaderAt, size int, changed bool) {
	r, err := tape.Open(t, int64(size), tape.ReaderOptions{})
	require.NoError(b, err)
	page := make([]byte, PageSize)
	for _, info := range r.Snapshots() {
		s, err := r.Snapshot(info.Begin.ID)
		require.NoError(b, err)
		extents := s.Extents()
		if c, known := s.Changed(); known && changed {
			extents = c
		}
		for _, e := range extents {
			for n := e.Start; n < e.Start+e.Count; n++ {
				if _, err := s.ReadPage(n, page); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

// TestImagesComeBack guards the benchmark's own reading: what is measured is right.
func TestImagesComeBack(t *testing.T) {
	s := series(t, 8<<20)
	var imgs [][]byte
	for range 4 {
		imgs = append(imgs, bytes.Clone(s.Image))
		s.Advance(0.3, 0.02)
	}
	var buf, one, log bytes.Buffer
	writeTape(t, &buf, tape.WriterOptions{Rand: zeros{}, Workers: 3}, imgs...)
	writeTape(t, &one, tape.WriterOptions{Rand: zeros{}, Workers: 1}, imgs...)
	require.True(t, bytes.Equal(buf.Bytes(), one.Bytes()), "the tape depends on the number of workers")
	r, err := tape.Open(bytes.NewReader(buf.Bytes()), int64(buf.Len()), tape.ReaderOptions{})
	require.NoError(t, err)
	for i, img := range imgs {
		snap, err := r.Snapshot(uint32(i + 1))
		require.NoError(t, err)
		h := sha256.New()
		page := make([]byte, PageSize)
		for n := range len(img) / PageSize {
			_, err := snap.ReadPage(uint64(n), page)
			require.NoError(t, err)
			h.Write(page)
		}
		require.Equal(t, sha256.Sum256(img), [32]byte(h.Sum(nil)))
	}
	writeLog(t, &log, 2, imgs...)
	require.Equal(t, nonZero(imgs...), readLog(t, &log))
}

// zeros is randomness for tapes that are to be alike.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
