package format

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	tape "github.com/xentape/xentape/format"
)

// BenchmarkSeries writes and reads a whole series of images: what a recording
// is. The plain log has every image's pages that are not zero; the tape has each
// content once, and a reader that has seen an image needs only what changed.
// MB/s are of all pages that are not zero, in all images.
func BenchmarkSeries(b *testing.B) {
	imgs := images(b)
	var size int64
	for _, img := range imgs {
		size += nonZero(img)
	}
	var buf, log bytes.Buffer
	writeSeries(b, &buf, imgs)
	for _, img := range imgs {
		writeLog(b, &log, img, 1)
	}
	b.Run("write/tape", func(b *testing.B) {
		perCore(b, size, func() { writeSeries(b, io.Discard, imgs) })
	})
	b.Run("write/log", func(b *testing.B) {
		perCore(b, size, func() {
			for _, img := range imgs {
				writeLog(b, io.Discard, img, 1)
			}
		})
	})
	b.Run("read/tape-changed", func(b *testing.B) {
		perCore(b, size, func() { readSeries(b, buf.Bytes(), true) })
	})
	b.Run("read/tape-whole", func(b *testing.B) {
		perCore(b, size, func() { readSeries(b, buf.Bytes(), false) })
	})
	b.Run("read/log", func(b *testing.B) {
		perCore(b, size, func() { readLog(b, bytes.NewReader(log.Bytes())) })
	})
}

func writeSeries(b testing.TB, w io.Writer, imgs [][]byte) {
	t, err := tape.NewWriter(w, tape.WriterOptions{Workers: 1})
	require.NoError(b, err)
	mem, err := t.DefineStream(tape.StreamDef{Kind: tape.StreamMemory, Name: "memory"})
	require.NoError(b, err)
	var parent uint32
	for _, img := range imgs {
		parent = writeSnapshot(b, t, mem, parent, img)
	}
	require.NoError(b, t.Seal())
}

// readSeries reads every snapshot, or, after the first, only what changed.
func readSeries(b testing.TB, tapeBytes []byte, changed bool) {
	r, err := tape.Open(bytes.NewReader(tapeBytes), int64(len(tapeBytes)), tape.ReaderOptions{})
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
