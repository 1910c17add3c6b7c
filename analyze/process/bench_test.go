package process_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/process"
)

// BenchmarkFirst is the whole analysis of one 256 MiB image from nothing.
func BenchmarkFirst(b *testing.B) {
	m := openImage(b, recording(b, "deb12-6.1.t1.elf"), 1)
	for b.Loop() {
		require.NoError(b, process.New(process.Options{}).Feed(m))
	}
}
