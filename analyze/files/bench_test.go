package files

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/format"
)

// BenchmarkTrace replays the trace XENTAPE_BENCH names (a folder with base.img
// and log), or a small fixture; bytes are those of the log.
func BenchmarkTrace(b *testing.B) {
	dir := os.Getenv("XENTAPE_BENCH")
	if dir == "" {
		dir = unpack(b, "ext4")
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(b, err)
	for name, o := range map[string]Options{"plain": {}, "sha256": {Hash: true, DiffLimit: -1}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(log)))
			for range b.N {
				o.Emit = func(Event) {}
				a, f := openTrace(b, dir, o)
				a.State()
				eachEntry(b, bytes.NewReader(log), func(r format.Record) {
					if err := a.Feed(r); err != nil {
						b.Fatal(err)
					}
				})
				require.NoError(b, a.Finish())
				f.Close()
			}
		})
	}
}

// BenchmarkCrawl indexes the base alone.
func BenchmarkCrawl(b *testing.B) {
	dir := os.Getenv("XENTAPE_BENCH")
	if dir == "" {
		dir = unpack(b, "ext4")
	}
	for range b.N {
		a, f := openTrace(b, dir, Options{})
		a.State()
		f.Close()
	}
}
